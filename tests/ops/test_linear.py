"""Primitives that are linear in their first operand, on a weighted sum along an axis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.ops.linear import linear_primitive

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")


def _compute(platform, x, weights, *, transposed):
    """Maps x `[N, 4]` and weights `[N, 3, 4]` to `[N, 3]`, or `[N, 3]` to `[N, 4]`."""
    return jnp.einsum("ni,nij->nj" if transposed else "nj,nij->ni", x, weights)


_primitive = linear_primitive("weighted", _compute, lambda x, transposed: (x.shape[0], 4 if transposed else 3))


def weighted(x, weights):
    return _primitive.bind(x, weights, transposed=False)


X, WEIGHTS = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(5, 2, 4), (5, 2, 3, 4)]))
EXPECTED = jnp.einsum("vnj,vnij->vni", X, WEIGHTS)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
@pytest.mark.parametrize("batched", [(0, 0), (0, None), (None, 0)])
def test_vmap(batched, transform):
    x, weights = (a if axis == 0 else a[1] for a, axis in zip((X, WEIGHTS), batched))
    expected = jax.vmap(lambda x, weights: jnp.einsum("nj,nij->ni", x, weights), batched)(x, weights)
    found = transform(jax.vmap(weighted, batched))(x, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_vmap_over_nothing():
    assert jax.vmap(weighted)(X[:0], WEIGHTS[:0]).shape == (0, 2, 3)


def test_derivatives():
    """Of the second order too: the gradient of a sum of squares is linear in x again."""
    x, weights = X[0], WEIGHTS[0]
    square = lambda x: jnp.sum(weighted(x, weights) ** 2) / 2  # noqa: E731
    gram = jnp.einsum("nij,nik->njk", weights, weights)
    np.testing.assert_allclose(jax.grad(square)(x), jnp.einsum("njk,nk->nj", gram, x), rtol=1e-5)
    ones = jnp.ones_like(x)
    _, forward = jax.jvp(jax.grad(square), (x,), (ones,))
    np.testing.assert_allclose(forward, jnp.einsum("njk,nk->nj", gram, ones), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(lambda x: jnp.sum(jax.grad(square)(x)))(x), forward, rtol=1e-5)


def test_other_operands_are_constants():
    gradient = jax.grad(lambda weights: jnp.sum(weighted(X[0], weights)))(WEIGHTS[0])
    np.testing.assert_array_equal(gradient, jnp.zeros_like(gradient))
    out, tangent = jax.jvp(lambda y: weighted(X[0], WEIGHTS[0]) * y, (2.0,), (1.0,))
    np.testing.assert_allclose(out, 2 * tangent)
    np.testing.assert_allclose(tangent, EXPECTED[0], rtol=1e-6)
