"""A convolution as one matrix product, for where it has too little to do at each pixel to be fast otherwise.

Rows of the matrix of patches are pixels of y, and its columns are what meets one: kernel rows and columns in
blocks of the stride s, `(taps, taps, s, s, I)`, so that patches are cut from an image of blocks in few large
pieces.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .geometry import Geometry


def forward(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """y `[N, h, w, O]` of x `[N, H, W, I]` and a kernel `[kh, kw, I, O]`."""
    return (_patches(x, g) @ _matrix(kernel, g)).reshape(x.shape[0], *g.output, kernel.shape[3])


def transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """x of y and the kernel."""
    s, (high, wide), channels = g.stride, _taps(g), kernel.shape[2]
    patches = y.reshape(-1, y.shape[3]) @ _matrix(kernel, g).T
    patches = patches.reshape(*y.shape[:3], high, wide, s * s * channels)
    shifted = [
        _padded(patches[:, :, :, a, b], (0, 0), (a, high - 1 - a), (b, wide - 1 - b), (0, 0))
        for a in range(high)
        for b in range(wide)
    ]
    blocks = functools.reduce(jnp.add, shifted)  # of x: patches, added where they overlap
    n, rows, columns, _ = blocks.shape
    image = jnp.transpose(blocks.reshape(n, rows, columns, s, s, channels), (0, 1, 3, 2, 4, 5))
    edges = [(-low, -high) for low, high in _margins(g)]
    return _padded(image.reshape(n, rows * s, columns * s, channels), (0, 0), *edges, (0, 0))


def kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """The kernel's derivative, of x and y."""
    s, (high, wide), channels = g.stride, _taps(g), x.shape[3]
    matrix = _patches(x, g).T @ y.reshape(-1, y.shape[3])
    grown = jnp.transpose(matrix.reshape(high, wide, s, s, channels, -1), (0, 2, 1, 3, 4, 5))
    return grown.reshape(high * s, wide * s, channels, -1)[: g.kernel[0], : g.kernel[1]]


def _taps(g: Geometry) -> tuple[int, int]:
    """Blocks under a kernel, in each direction."""
    return -(-g.kernel[0] // g.stride), -(-g.kernel[1] // g.stride)


def _margins(g: Geometry) -> list[tuple[int, int]]:
    """What makes x whole blocks, as many as the windows reach: above and below, left and right; negative: cut."""
    blocks = [out + taps - 1 for out, taps in zip(g.output, _taps(g))]
    return [(low, count * g.stride - low - n) for count, (low, _), n in zip(blocks, g.padding, g.size)]


def _patches(x: jax.Array, g: Geometry) -> jax.Array:
    """`[N h w, taps taps s s I]`."""
    s, (high, wide), (height, width) = g.stride, _taps(g), g.output
    image = _padded(x, (0, 0), *_margins(g), (0, 0))
    n, rows, columns, channels = image.shape
    blocks = jnp.transpose(image.reshape(n, rows // s, s, columns // s, s, channels), (0, 1, 3, 2, 4, 5))
    blocks = blocks.reshape(n, rows // s, columns // s, s * s * channels)
    parts = [blocks[:, a : a + height, b : b + width] for a in range(high) for b in range(wide)]
    return jnp.concatenate(parts, axis=3).reshape(n * height * width, -1)


def _matrix(kernel: jax.Array, g: Geometry) -> jax.Array:
    """`[taps taps s s I, O]`."""
    s, (high, wide), (i, o) = g.stride, _taps(g), kernel.shape[2:]
    grown = _padded(kernel, *((0, t * s - k) for t, k in zip((high, wide), g.kernel)), (0, 0), (0, 0))
    return jnp.transpose(grown.reshape(high, s, wide, s, i, o), (0, 2, 1, 3, 4, 5)).reshape(-1, o)


def _padded(x: jax.Array, *edges: tuple[int, int]) -> jax.Array:
    """`jnp.pad` with zeros, by `(low, high)` for each axis; a negative number cuts.

    `jnp.pad` itself brings an array along as a constant, and inside of a `custom_vjp` JAX 0.10 then takes one
    saved array for another, in the gradient of the gradient of a loop.
    """
    return lax.pad(x, np.zeros((), x.dtype), [(low, high, 0) for low, high in edges])
