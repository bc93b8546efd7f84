"""The three bilinear functions of a convolution as matrix products with patches, in float32 sums.

GPUs get them on maps as small as the kernel. The CPU gets `transpose` for few channels, where Eigen's convolution,
which XLA uses there, has too little work per pixel.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .geometry import Geometry


def forward(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps x `[N, H, W, I]` and the kernel `[kh, kw, I / groups, O]` to y `[N, h, w, O]`."""
    kernels = kernel.reshape(-1, kernel.shape[2], g.groups, kernel.shape[3] // g.groups)
    y = _einsum("pkgi,kigo->pgo", _windows(x, g), kernels)
    return y.reshape(x.shape[0], *g.output, kernel.shape[3])


def kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """Maps x and y to the kernel."""
    pixels = y.reshape(-1, g.groups, y.shape[3] // g.groups)
    w = _einsum("pkgi,pgo->kigo", _windows(x, g), pixels)
    return w.reshape(*g.kernel, x.shape[3] // g.groups, y.shape[3])


def _windows(x: jax.Array, g: Geometry) -> jax.Array:
    """Returns the window of x that each pixel of y reads, `[N h w, kh kw, groups, I / groups]`."""
    n, s = x.shape[0], g.stride
    x = padded(x, (0, 0), *g.padding, (0, 0))
    (height, width), channels = g.output, x.shape[3]
    taps = [
        lax.slice(x, (0, a, b, 0), (n, a + (height - 1) * s + 1, b + (width - 1) * s + 1, channels), (1, s, s, 1))
        for a in range(g.kernel[0])
        for b in range(g.kernel[1])
    ]
    return jnp.stack(taps, axis=3).reshape(n * height * width, len(taps), g.groups, channels // g.groups)


def _einsum(subscripts: str, a: jax.Array, b: jax.Array) -> jax.Array:
    exact = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.einsum(subscripts, a, b, preferred_element_type=exact).astype(a.dtype)


def transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps y and the kernel to x.

    A matrix product gives each pixel of y its patch of x. A patch is split into blocks of the stride s,
    `(taps, taps, s, s, I)`, so the patches are added in an image of blocks, in few large operations.
    """
    s, (rows, columns), (n, height, width, _) = g.stride, _taps(g), y.shape
    per_group, exact = kernel.shape[2], jnp.promote_types(y.dtype, jnp.float32)
    if g.groups == 1:
        patches = jnp.matmul(y, _matrix(kernel, g).T, preferred_element_type=exact)
    else:
        matrices = _matrix(kernel, g).reshape(-1, per_group, g.groups, kernel.shape[3] // g.groups)
        pixels = y.reshape(n, height, width, g.groups, -1)
        patches = jnp.einsum("nhwgo,kigo->nhwkgi", pixels, matrices, preferred_element_type=exact)
    channels = per_group * g.groups
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
    """Pads with zeros by `(low, high)` for each axis, as `jnp.pad` does; a negative number cuts."""
    return lax.pad(x, np.zeros((), x.dtype), [(low, high, 0) for low, high in edges])
