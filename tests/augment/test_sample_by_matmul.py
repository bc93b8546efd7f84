"""On a TPU, ADA samples by matrix products: the same pixels and derivatives, and no gather."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.augment import geometry, sample_by_gather, sample_by_matmul, sampling
from gan_jax.augment.pipeline import Strengths, draw

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

FORMS = {
    "warp": (sample_by_matmul.warp, sample_by_gather.warp, geometry.inverse),
    "blit": (sample_by_matmul.blit, sample_by_gather.blit, geometry.blit_inverse),
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
        ("tpu", sample_by_matmul.LARGEST_SIDE, False),
        ("tpu", sample_by_matmul.LARGEST_SIDE + 1, True),
        ("cuda", 8, True),
        ("cpu", 8, True),
    ],
)
def test_the_platform_and_the_size_decide(form, platform, side, gathers):
    sample = {"warp": sampling.warp, "blit": sampling.blit}[form]
    x = jax.ShapeDtypeStruct((BATCH, 4, side, 3), jnp.float32)
    inverses = jax.ShapeDtypeStruct((BATCH, 3, 3), jnp.float32)
    derivative = jax.grad(lambda x, inverses: jnp.sum(sample(x, inverses) ** 2))
    text = jax.jit(derivative).trace(x, inverses).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.scatter" in text) == gathers
    assert ("stablehlo.while" in text) != gathers
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)
    assert products or form == "blit"


def test_weights_of_the_fine_grid_are_not_kept():
    """They would be 64 times as large as the images."""
    size, batch = 32, 16
    x = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)
    inverses = jax.ShapeDtypeStruct((batch, 3, 3), jnp.float32)

    def loss(x, inverses):
        return jnp.sum(sample_by_matmul.warp(x, inverses) ** 2)

    compiled = jax.jit(jax.grad(loss)).lower(x, inverses).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * batch * (2 * size + 10) ** 2 * size


@pytest.mark.parametrize("form", FORMS)
def test_matrices_are_constants(form):
    sample = {"warp": sampling.warp, "blit": sampling.blit}[form]
    inverses = matrices(FORMS[form][2], 6, 4)
    gradient = jax.grad(lambda inverses: jnp.sum(sample(jnp.ones((BATCH, 6, 4, 1)), inverses)))(inverses)
    np.testing.assert_array_equal(gradient, np.zeros_like(inverses))


def test_what_does_not_fit_is_refused():
    images = jnp.zeros((BATCH, 6, 4, 1))
    with pytest.raises(ValueError, match="a matrix for each image"):
        sampling.blit(images, jnp.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match="sides of 2 pixels or more"):
        sampling.warp(images[:, :1], jnp.zeros((BATCH, 3, 3)))
