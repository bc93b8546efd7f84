"""The three bilinear functions of a convolution as matrix products with patches, in float32 sums.

GPUs get them on maps as small as the kernel. The CPU gets `transpose` for few channels, where Eigen's convolution,
which XLA uses there, has too little work per pixel.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .geometry import Geometry


def forward(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps x `[N, *S, I]` and the kernel `[*k, I / groups, O]` to y `[N, *s, O]`."""
    kernels = kernel.reshape(-1, kernel.shape[-2], g.groups, kernel.shape[-1] // g.groups)
    y = _einsum("pkgi,kigo->pgo", _windows(x, g), kernels)
    return y.reshape(x.shape[0], *g.output, kernel.shape[-1])


def kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """Maps x and y to the kernel."""
    pixels = y.reshape(-1, g.groups, y.shape[-1] // g.groups)
    w = _einsum("pkgi,pgo->kigo", _windows(x, g), pixels)
    return w.reshape(*g.kernel, x.shape[-1] // g.groups, y.shape[-1])


def _windows(x: jax.Array, g: Geometry) -> jax.Array:
    """Returns the window of x that each pixel of y reads, `[N s, k, groups, I / groups]`."""
    n, channels = x.shape[0], x.shape[-1]
    x = padded(x, (0, 0), *g.padding, (0, 0))
    spans = [(out - 1) * s + 1 for out, s in zip(g.output, g.stride)]

    def tap(*start: int) -> jax.Array:
        stop = (a + span for a, span in zip(start, spans))
        return lax.slice(x, (0, *start, 0), (n, *stop, channels), (1, *g.stride, 1))

    taps = [tap(*start) for start in itertools.product(*map(range, g.kernel))]
    pixels = n * math.prod(g.output)
    return jnp.stack(taps, axis=g.rank + 1).reshape(pixels, len(taps), g.groups, channels // g.groups)


def _einsum(subscripts: str, a: jax.Array, b: jax.Array) -> jax.Array:
    exact = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.einsum(subscripts, a, b, preferred_element_type=exact).astype(a.dtype)


def transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps y and the kernel to x.

    A matrix product gives each pixel of y its patch of x. A patch is split into blocks as large as the stride s,
    in two dimensions `(taps, taps, s, s, I)`. So the patches are added in an image of blocks, in few large
    operations.
    """
    taps, (n, *size, _) = _taps(g), y.shape
    per_group, exact = kernel.shape[-2], jnp.promote_types(y.dtype, jnp.float32)
    if g.groups == 1:
        patches = jnp.matmul(y, _matrix(kernel, g).T, preferred_element_type=exact)
    else:
        matrices = _matrix(kernel, g).reshape(-1, per_group, g.groups, kernel.shape[-1] // g.groups)
        pixels, axes = y.reshape(n, *size, g.groups, -1), "xyz"[: g.rank]
        patches = jnp.einsum(f"n{axes}go,kigo->n{axes}kgi", pixels, matrices, preferred_element_type=exact)
    channels = per_group * g.groups
    patches = patches.reshape(n, *size, *taps, math.prod(g.stride) * channels)

    def shifted(*tap: int) -> jax.Array:
        edges = ((a, count - 1 - a) for a, count in zip(tap, taps))
        return padded(patches[(..., *tap, slice(None))], (0, 0), *edges, (0, 0))

    parts = [shifted(*tap) for tap in itertools.product(*map(range, taps))]
    blocks = functools.reduce(jnp.add, parts).astype(y.dtype)
    size, order = blocks.shape[1:-1], _interleaved(1, g.rank)
    image = jnp.transpose(blocks.reshape(n, *size, *g.stride, channels), (0, *order, 2 * g.rank + 1))
    edges = [(-low, -high) for low, high in _margins(g)]
    whole = image.reshape(n, *(count * s for count, s in zip(size, g.stride)), channels)
    return padded(whole, (0, 0), *edges, (0, 0))


def _interleaved(first: int, rank: int) -> tuple[int, ...]:
    """Returns the order that puts each of `rank` axes beside the axis `rank` after it."""
    return tuple(axis for a in range(first, first + rank) for axis in (a, a + rank))


def _taps(g: Geometry) -> tuple[int, ...]:
    """Returns the number of blocks that a kernel covers, along each axis."""
    return tuple(-(-k // s) for k, s in zip(g.kernel, g.stride))


def _margins(g: Geometry) -> list[tuple[int, int]]:
    """Returns by how much the blocks extend beyond x: (before, after) of each axis."""
    blocks = [out + taps - 1 for out, taps in zip(g.output, _taps(g))]
    spans = zip(blocks, g.padding, g.size, g.stride)
    return [(low, count * s - low - n) for count, (low, _), n, s in spans]


def _matrix(kernel: jax.Array, g: Geometry) -> jax.Array:
    """Rearranges the kernel to a matrix, in two dimensions `[taps taps s s I, O]`."""
    taps, (i, o), rank = _taps(g), kernel.shape[-2:], g.rank
    spare = ((0, t * s - k) for t, s, k in zip(taps, g.stride, g.kernel))
    whole = padded(kernel, *spare, (0, 0), (0, 0))
    split = whole.reshape(*(n for pair in zip(taps, g.stride) for n in pair), i, o)
    order = (*range(0, 2 * rank, 2), *range(1, 2 * rank, 2), 2 * rank, 2 * rank + 1)
    return jnp.transpose(split, order).reshape(-1, o)


def padded(x: jax.Array, *edges: tuple[int, int]) -> jax.Array:
    """Pads with zeros by `(low, high)` for each axis, as `jnp.pad` does; a negative number cuts."""
    return lax.pad(x, np.zeros((), x.dtype), [(low, high, 0) for low, high in edges])
