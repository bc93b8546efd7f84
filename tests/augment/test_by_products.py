"""On a TPU, ADA samples by matrix products: the same pixels and derivatives, and no gather."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.augment import by_gathers, by_products, geometry, sampling
from gan_jax.augment.pipeline import Strengths, draw

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

FORMS = {
    "warp": (by_products.warp, by_gathers.warp, geometry.inverse),
    "blit": (by_products.blit, by_gathers.blit, geometry.blit_inverse),
}
BATCH = 8


def matrices(inverse, height, width):
    """All operations at once, so that sources are far outside too."""
    keys = jax.random.split(jax.random.key(0), BATCH)
    drawn = jax.vmap(lambda key: draw(key, jnp.float32(1), Strengths(*[1.0] * len(Strengths._fields))))(keys)
    return jax.vmap(lambda g: inverse(g, height, width))(drawn.geometry)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("height", "width"), [(12, 16), (7, 9), (2, 3)])
def test_products_are_gathers(form, height, width):
    products, gathers, inverse = FORMS[form]
    inverses = matrices(inverse, height, width)
    x, y = jax.random.normal(jax.random.key(1), (2, BATCH, height, width, 3))

    def both(sample):
        out, pullback = jax.vjp(lambda x: sample(x, inverses), x)
        return out, pullback(y)[0]

    found, expected = jax.jit(lambda: both(products))(), jax.jit(lambda: both(gathers))()
    tolerance = 1e-5 if form == "warp" else 0  # pixels are copied; a derivative adds few of them
    np.testing.assert_allclose(found[0], expected[0], atol=tolerance)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)
    assert np.std(expected[0]) > 0.3
    assert np.std(expected[1]) > 0.3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("platform", "side", "gathers"),
    [
        ("tpu", by_products.LARGEST_SIDE, 0),
        ("tpu", by_products.LARGEST_SIDE + 1, 1),
        ("cuda", 8, 1),
        ("cpu", 8, 1),
    ],
)
def test_the_platform_and_the_size_decide(form, platform, side, gathers):
    sample = {"warp": sampling.warp, "blit": sampling.blit}[form]
    x = jax.ShapeDtypeStruct((BATCH, 4, side, 3), jnp.float32)
    inverses = jax.ShapeDtypeStruct((BATCH, 3, 3), jnp.float32)
    derivative = jax.grad(lambda x, inverses: jnp.sum(sample(x, inverses) ** 2))
    text = jax.jit(derivative).trace(x, inverses).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.scatter" in text) == bool(gathers)
    assert ("stablehlo.while" in text) != bool(gathers)


def test_weights_of_the_fine_grid_are_not_kept():
    """They would be 64 times as large as the images."""
    size, batch = 32, 16
    x = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)
    inverses = jax.ShapeDtypeStruct((batch, 3, 3), jnp.float32)

    def loss(x, inverses):
        return jnp.sum(by_products.warp(x, inverses) ** 2)

    compiled = jax.jit(jax.grad(loss)).lower(x, inverses).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * batch * (2 * size + 10) ** 2 * size
