"""The three bilinear functions of a grouped convolution in blocks: several groups at once, as a dense convolution.

Between its groups the kernel of a block is zero. The CPU computes the blocks in a loop, which is compiled once for
all of them. On a GPU they can be fewer and wider groups of one convolution (`merged`).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from .geometry import Geometry

Dense = Callable[[jax.Array, jax.Array, Geometry], jax.Array]

# Measured on the CPU with 1 to 16 channels per group, forward and backward. Relative to blocks of 16 channels, the
# time is 3 for blocks of 4 and 1.1 for 8; it is 1.3 for 32 and 2 for 64, because of the products with zeros.
_CHANNELS = 16


def forward(dense: Dense, x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps x `[N, *S, I]` and the kernel `[*k, I / groups, O]` to y `[N, *s, O]`."""
    kernels = _block_diagonal(kernel, g, _groups_per_block(kernel, g))
    one = g._replace(groups=1)
    return _joined(lax.map(lambda pair: dense(pair[0], pair[1], one), (_split(x, kernels.shape[0]), kernels)))


def transpose(dense: Dense, y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps y and the kernel to x."""
    return forward(dense, y, kernel, g)  # `dense` tells them apart


def kernel(dense: Dense, x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """Maps x and y to the kernel."""
    fused = _largest(g.groups, max(x.shape[-1], y.shape[-1]) // g.groups)
    blocks = g.groups // fused
    one = g._replace(groups=1)
    kernels = lax.map(lambda pair: dense(pair[0], pair[1], one), (_split(x, blocks), _split(y, blocks)))
    return _diagonal(kernels, g, fused)


def merged(name: str, function: Dense, a: jax.Array, b: jax.Array, g: Geometry, count: int) -> jax.Array:
    """Computes one of the three functions with every `count` groups merged into one, which is wider.

    Args:
        name: conv_forward, conv_transpose or conv_kernel.
        function: that function, of a grouped convolution.
        a, b: its arguments.
        g: the geometry, with the groups before they are merged.
        count: how many groups become one; if it does not divide their number, nothing is merged.
    """
    if count == 1 or g.groups % count:
        return function(a, b, g)
    wide = g._replace(groups=g.groups // count)
    if name != "conv_kernel":
        return function(a, _joined(_block_diagonal(b, g, count)), wide)
    return _diagonal(_split(function(a, b, wide), wide.groups), g, count)


def _split(x: jax.Array, blocks: int) -> jax.Array:
    """Returns `[blocks, N, *S, C / blocks]`."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], blocks, -1), -2, 0)


def _joined(x: jax.Array) -> jax.Array:
    """Undoes `_split`."""
    return jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], -1)


def _groups_per_block(kernel: jax.Array, g: Geometry) -> int:
    return _largest(g.groups, max(kernel.shape[-2], kernel.shape[-1] // g.groups))


def _largest(groups: int, width: int) -> int:
    """Returns the largest divisor of `groups` that keeps a block within _CHANNELS channels, or 1."""
    return max(n for n in range(1, groups + 1) if groups % n == 0 and n * width <= max(_CHANNELS, width))


def _block_diagonal(kernel: jax.Array, g: Geometry, fused: int) -> jax.Array:
    """Returns dense kernels `[groups / fused, *k, fused i, fused o]`, which are zero between groups."""
    *size, i, features = kernel.shape
    rank, o = g.rank, features // g.groups
    split = kernel.reshape(*size, i, g.groups // fused, fused, o)
    split = jnp.transpose(split, (rank + 1, *range(rank + 1), rank + 2, rank + 3))  # [blocks, *k, i, fused, o]
    same = jnp.eye(fused, dtype=bool)[:, None, :, None]  # [fused, 1, fused, 1]
    dense = jnp.where(same, split[..., None, :, :, :], 0)  # [blocks, *k, fused, i, fused, o]
    return dense.reshape(g.groups // fused, *size, fused * i, fused * o)


def _diagonal(kernels: jax.Array, g: Geometry, fused: int) -> jax.Array:
    """Undoes `_block_diagonal`: returns the kernel `[*k, i, groups o]`."""
    rank, i, o = g.rank, kernels.shape[-2] // fused, kernels.shape[-1] // fused
    split = kernels.reshape(-1, *g.kernel, fused, i, fused, o)
    diagonal = jnp.diagonal(split, axis1=rank + 1, axis2=rank + 3)  # [blocks, *k, i, o, fused]
    ordered = jnp.transpose(diagonal, (*range(1, rank + 2), 0, rank + 3, rank + 2))
    return ordered.reshape(*g.kernel, i, g.groups * o)
