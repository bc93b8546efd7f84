"""Transposed convolution to few channels, as one matrix product and a sum.

With few channels, Eigen's convolution, which XLA uses on the CPU, has too little work per pixel. Here a matrix
product gives each pixel of y its patch of x. A patch is split into blocks of the stride s,
`(taps, taps, s, s, I)`, so the patches are added in an image of blocks, in few large operations.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .geometry import Geometry


def transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Computes x `[N, H, W, I]` from y `[N, h, w, O]` and the kernel `[kh, kw, I, O]`, in float32 at least."""
    s, (rows, columns), (n, height, width, _), channels = g.stride, _taps(g), y.shape, kernel.shape[2]
    exact = jnp.promote_types(y.dtype, jnp.float32)
    patches = jnp.matmul(y, _matrix(kernel, g).T, preferred_element_type=exact)
    patches = patches.reshape(n, height, width, rows, columns, s * s * channels)
    shifted = [
        padded(patches[:, :, :, a, b], (0, 0), (a, rows - 1 - a), (b, columns - 1 - b), (0, 0))
        for a in range(rows)
        for b in range(columns)
    ]
    blocks = functools.reduce(jnp.add, shifted).astype(y.dtype)
    height, width = blocks.shape[1:3]
    image = jnp.transpose(blocks.reshape(n, height, width, s, s, channels), (0, 1, 3, 2, 4, 5))
    edges = [(-low, -high) for low, high in _margins(g)]
    return padded(image.reshape(n, height * s, width * s, channels), (0, 0), *edges, (0, 0))


def _taps(g: Geometry) -> tuple[int, int]:
    """Returns the number of blocks that a kernel covers, in each direction."""
    return -(-g.kernel[0] // g.stride), -(-g.kernel[1] // g.stride)


def _margins(g: Geometry) -> list[tuple[int, int]]:
    """Returns by how much the blocks extend beyond x: (above, below), (left, right)."""
    blocks = [out + taps - 1 for out, taps in zip(g.output, _taps(g))]
    return [(low, count * g.stride - low - n) for count, (low, _), n in zip(blocks, g.padding, g.size)]


def _matrix(kernel: jax.Array, g: Geometry) -> jax.Array:
    """Rearranges the kernel to the matrix `[taps taps s s I, O]`."""
    s, (rows, columns), (i, o) = g.stride, _taps(g), kernel.shape[2:]
    whole = padded(kernel, *((0, t * s - k) for t, k in zip((rows, columns), g.kernel)), (0, 0), (0, 0))
    return jnp.transpose(whole.reshape(rows, s, columns, s, i, o), (0, 2, 1, 3, 4, 5)).reshape(-1, o)


def padded(x: jax.Array, *edges: tuple[int, int]) -> jax.Array:
    """Pads with zeros by `(low, high)` for each axis, as `jnp.pad` does; a negative number cuts.

    `jnp.pad` itself computes a value that depends on no input (as `jnp.zeros` does). Inside a `custom_vjp`, JAX
    0.10 then confuses saved arrays in the second derivative of a loop.
    """
    return lax.pad(x, np.zeros((), x.dtype), [(low, high, 0) for low, high in edges])
