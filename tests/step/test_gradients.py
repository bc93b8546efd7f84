"""The norm of gradients is Optax's: on the CPU bit for bit, elsewhere with fewer reductions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.ops import compiler_options
from gan_jax.step.gradients import global_norm, norm_by_lanes

TREE = {
    "kernel": np.random.default_rng(0).normal(size=(3, 5, 130)).astype(np.float32),
    "bias": np.arange(7, dtype=np.float32),
    "gain": np.float32(3),
    "empty": np.zeros((0, 4), np.float32),
}


def test_it_is_the_norm():
    exact = np.sqrt(sum(np.sum(np.float64(leaf) ** 2) for leaf in TREE.values()))
    assert float(norm_by_lanes(TREE)) == pytest.approx(exact, rel=1e-6)
    assert global_norm(TREE) == optax.tree.norm(TREE)
    assert global_norm({}) == 0  # a network without parameters
    scales = jnp.arange(3.0)
    norms = jax.vmap(lambda scale: norm_by_lanes(jax.tree.map(lambda leaf: scale * leaf, TREE)))(scales)
    np.testing.assert_allclose(norms, exact * scales, rtol=1e-6)


@pytest.mark.parametrize(("platform", "scalars"), [("cpu", 4), ("cuda", 1), ("tpu", 1)])
def test_the_platform_that_is_compiled_for_decides(platform, scalars):
    """Off the CPU each array becomes a vector; one reduction to a scalar is left."""
    text = jax.jit(global_norm).trace(TREE).lower(lowering_platforms=(platform,)).as_text()
    reductions = [line for line in text.splitlines() if "stablehlo.reduce(" in line]
    assert sum("-> tensor<f32>" in line for line in reductions) == scalars


def test_the_squares_of_the_norm_are_not_kept():
    """Adam needs squares too. An array of them that both read would be written once more, and read twice."""
    size = 512

    def update(grad: jax.Array, nu: jax.Array) -> tuple[jax.Array, jax.Array]:
        return 0.9 * nu + 0.1 * grad**2, global_norm(grad)

    array = jax.ShapeDtypeStruct((size, size), jnp.float32)
    options = compiler_options("cpu")
    compiled = jax.jit(update, donate_argnums=1, compiler_options=options).lower(array, array).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * size**2 / 2
