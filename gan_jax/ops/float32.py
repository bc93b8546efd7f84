"""Elementwise operations on 16-bit maps, whose derivatives sum in float32.

A bias is added to every pixel of every sample, so its gradient is a sum over batch and map. If the bias is cast to
bfloat16 and then added, JAX also sums in bfloat16, and such a sum stops growing at about 2^8 times its terms: over
64 maps of 32 x 32 it is 70 % off.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp


def widen(a: jax.Array) -> jax.Array:
    """Casts to float32, or leaves float32 and float64 as they are."""
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))


def in_float32(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Makes `function(x, *others)` compute 16-bit arrays in float32, and return the type of x.

    What the function broadcasts then has a gradient that is summed in float32, in derivatives of every order. A
    derivative keeps the 16-bit arrays and casts them again, so no float32 map stays in memory. Wider arrays are
    computed as they are.

    Args:
        function: a pure function of arrays that returns one array.
    """

    @functools.wraps(function)
    def wrapped(x: jax.Array, *others: jax.Array) -> jax.Array:
        def compute(x: jax.Array, *others: jax.Array) -> jax.Array:
            return function(*map(widen, (x, *others))).astype(x.dtype)

        if x.dtype.itemsize > 2:
            return compute(x, *others)
        # With `prevent_cse` there would be a barrier, over which XLA does not fuse the casts.
        return jax.checkpoint(compute, prevent_cse=False)(x, *others)

    return wrapped


def add(x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns `x + y` in the type of x; y broadcasts, and its type may be wider, as for a float32 bias."""
    if x.dtype.itemsize > 2:
        return (x + y).astype(x.dtype)
    # The broadcast comes before the cast, so the sum in its derivative is float32. The addition stays in 16 bits:
    # only so can cuDNN add the bias inside the convolution.
    return x + jnp.broadcast_to(widen(y), x.shape).astype(x.dtype)


@in_float32
def multiply(x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns `x * y` in the type of x; y broadcasts, and its type may be wider, as for a float32 gain."""
    return x * y
