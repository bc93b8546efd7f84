"""Compares a function with a reference: the value, the gradient, and the gradient of the gradient's norm."""

import jax
import jax.numpy as jnp
import numpy as np


def orders(function, inputs):
    """Returns the value, the gradients by all inputs, and the gradients of their squared norm, as in a penalty."""
    out = jax.eval_shape(function, *inputs)
    weights = np.random.default_rng(2).normal(size=out.shape)
    all_inputs = tuple(range(len(inputs)))

    def scalar(*inputs):
        return jnp.sum(weights * jnp.tanh(function(*inputs)))

    def penalty(*inputs):
        return sum(jnp.sum(g**2) for g in jax.grad(scalar, argnums=all_inputs)(*inputs))

    gradients, second = (jax.grad(f, argnums=all_inputs)(*inputs) for f in (scalar, penalty))
    return function(*inputs), gradients, second


def compare(ours, theirs, inputs):
    found, expected = jax.jit(lambda *inputs: (orders(ours, inputs), orders(theirs, inputs)))(*inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), found, expected)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected)
