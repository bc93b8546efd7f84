"""Activations whose derivatives are functions of their output.

The next layer saves the output for the gradient of its kernel. The input would be one more map in memory, to write
and to read again. Both functions here are monotonic, so the output has the sign of the input.
"""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def leaky_relu(x: jax.Array, slope: float = 0.2) -> jax.Array:
    """Returns x where it is positive or 0, `slope x` elsewhere; the derivative at 0 is 1, as in `jax.nn`.

    Args:
        x: any shape, floating.
        slope: a constant above 0.
    """
    return jnp.where(x >= 0, x, slope * x)


@leaky_relu.defjvp
def _leaky_relu_jvp(slope, primals, tangents):
    (x,), (tangent,) = primals, tangents
    y = leaky_relu(x, slope)
    return y, jnp.where(y >= 0, tangent, slope * tangent)


@jax.custom_jvp
def relu(x: jax.Array) -> jax.Array:
    """Returns the larger of x and 0; the derivative at 0 is 0, as in `jax.nn`."""
    return jnp.maximum(x, 0)


@relu.defjvp
def _relu_jvp(primals, tangents):
    y = relu(*primals)
    return y, jnp.where(y > 0, tangents[0], 0)
