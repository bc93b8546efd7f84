"""Transposed convolution to few channels as one matrix product and a sum.

Eigen's convolution, which XLA uses on the CPU, has too little to do for each pixel there. The product gives each
pixel of y its patch of x, kernel rows and columns in blocks of the stride s, `(taps, taps, s, s, I)`, so that
patches are added up in an image of blocks, in few large pieces.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .geometry import Geometry


def transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """x `[N, H, W, I]` of y `[N, h, w, O]` and a kernel `[kh, kw, I, O]`; added up in at least float32."""
    s, (high, wide), (n, height, width, _), channels = g.stride, _taps(g), y.shape, kernel.shape[2]
    exact = jnp.promote_types(y.dtype, jnp.float32)
    patches = jnp.matmul(y, _matrix(kernel, g).T, preferred_element_type=exact)
    patches = patches.reshape(n, height, width, high, wide, s * s * channels)
    shifted = [
        padded(patches[:, :, :, a, b], (0, 0), (a, high - 1 - a), (b, wide - 1 - b), (0, 0))
        for a in range(high)
        for b in range(wide)
    ]
    blocks = functools.reduce(jnp.add, shifted).astype(y.dtype)
    rows, columns = blocks.shape[1:3]
    image = jnp.transpose(blocks.reshape(n, rows, columns, s, s, channels), (0, 1, 3, 2, 4, 5))
    edges = [(-low, -high) for low, high in _margins(g)]
    return padded(image.reshape(n, rows * s, columns * s, channels), (0, 0), *edges, (0, 0))


def _taps(g: Geometry) -> tuple[int, int]:
    """Blocks under a kernel, in each direction."""
    return -(-g.kernel[0] // g.stride), -(-g.kernel[1] // g.stride)


def _margins(g: Geometry) -> list[tuple[int, int]]:
    """By how much the blocks that windows reach surpass x: above and below, left and right."""
    blocks = [out + taps - 1 for out, taps in zip(g.output, _taps(g))]
    return [(low, count * g.stride - low - n) for count, (low, _), n in zip(blocks, g.padding, g.size)]


def _matrix(kernel: jax.Array, g: Geometry) -> jax.Array:
    """`[taps taps s s I, O]`."""
    s, (high, wide), (i, o) = g.stride, _taps(g), kernel.shape[2:]
    grown = padded(kernel, *((0, t * s - k) for t, k in zip((high, wide), g.kernel)), (0, 0), (0, 0))
    return jnp.transpose(grown.reshape(high, s, wide, s, i, o), (0, 2, 1, 3, 4, 5)).reshape(-1, o)


def padded(x: jax.Array, *edges: tuple[int, int]) -> jax.Array:
    """`jnp.pad` with zeros, by `(low, high)` for each axis; a negative number cuts.

    `jnp.pad` itself computes something that depends on no input (as `jnp.zeros` does). Inside of a `custom_vjp`
    JAX 0.10 then takes one saved array for another, in the gradient of the gradient of a loop.
    """
    return lax.pad(x, np.zeros((), x.dtype), [(low, high, 0) for low, high in edges])
