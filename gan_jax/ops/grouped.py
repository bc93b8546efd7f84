"""Grouped convolution: each group of output channels reads one group of input channels."""

import jax
import jax.numpy as jnp
from jax import lax

from .backend import formulations
from .conv import conv
from .float32 import in_float32

# Measured on the CPU with 1 to 16 channels per group, forward and backward. Relative to blocks of 16 channels, the
# time is 3 for blocks of 4 and 1.1 for 8; it is 1.3 for 32 and 2 for 64, because of the products with zeros.
_CHANNELS = 16


def grouped_conv(x: jax.Array, kernel: jax.Array, *, groups: int, stride: int = 1, padding: int = 0) -> jax.Array:
    """Computes the grouped cross-correlation, as `lax.conv_general_dilated` with `feature_group_count` does.

    Output channel o, in group g = o // (O / groups), is the convolution of input channels [g c, (g + 1) c) with
    `kernel[:, :, :, o]`, where c = I / groups. Xie et al., "Aggregated residual transformations for deep neural
    networks", 2017. In blocks (`backend.FORMULATIONS`) it can be differentiated in reverse mode only, as `conv`.

    Args:
        x: `[N, H, W, I]`.
        kernel: `[kh, kw, I / groups, O]`.
        groups: the number of groups, which divides I and O.
        stride: the stride in both directions.
        padding: the number of zeros on every side.

    Returns:
        `[N, (H + 2 padding - kh) // stride + 1, ..., O]`.

    Raises:
        ValueError: `groups` does not divide I and O, or the kernel does not have I / groups input channels.
    """
    channels, (*size, per_group, features) = x.shape[3], kernel.shape
    if groups < 1 or channels % groups or features % groups:
        raise ValueError(f"groups must divide the {channels} input and {features} output channels, got {groups}")
    if per_group * groups != channels:
        raise ValueError(
            f"{channels} channels in {groups} groups need a kernel with {channels // groups}, not {per_group}"
        )
    if groups == 1:
        return conv(x, kernel, stride=stride, padding=padding)
    if formulations().grouped == "native":
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
        )  # fmt: skip
    if tuple(size) == x.shape[1:3] and padding == 0:
        return _whole_map(x, kernel, groups)
    return _blocks(x, kernel, groups, stride, padding)


def _whole_map(x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """Computes the single output pixel of a kernel as large as the map, as one matrix product per group."""
    images = x.reshape(*x.shape[:3], groups, -1)
    kernels = kernel.reshape(*kernel.shape[:3], groups, -1)
    return jnp.einsum("nhwgi,hwigo->ngo", images, kernels).reshape(x.shape[0], 1, 1, -1)


def _blocks(x: jax.Array, kernel: jax.Array, groups: int, stride: int, padding: int) -> jax.Array:
    """Computes each block of groups as a dense convolution, in a loop that is compiled once for all blocks."""
    fused = _groups_per_block(groups, max(kernel.shape[2], kernel.shape[3] // groups))
    kernels = _block_diagonal(kernel, groups, fused)
    images = jnp.moveaxis(x.reshape(*x.shape[:3], kernels.shape[0], -1), 3, 0)  # [blocks, N, H, W, i]
    out = lax.map(lambda block: conv(*block, stride=stride, padding=padding), (images, kernels))
    return jnp.moveaxis(out, 0, 3).reshape(*out.shape[1:4], -1)


def _groups_per_block(groups: int, width: int) -> int:
    """Returns the largest divisor of `groups` that keeps a block within _CHANNELS channels, or 1."""
    return max(n for n in range(1, groups + 1) if groups % n == 0 and n * width <= max(_CHANNELS, width))


def _block_diagonal(kernel: jax.Array, groups: int, fused: int) -> jax.Array:
    """Returns dense kernels `[groups / fused, kh, kw, fused i, fused o]`, which are zero between groups."""
    kh, kw, i, features = kernel.shape
    blocks, o = groups // fused, features // groups
    split = jnp.transpose(kernel.reshape(kh, kw, i, blocks, fused, o), (3, 0, 1, 2, 4, 5))
    dense = _on_diagonal(split)  # [blocks, kh, kw, fused, i, fused, o]
    return dense.reshape(blocks, kh, kw, fused * i, fused * o)


@in_float32
def _on_diagonal(split: jax.Array) -> jax.Array:
    """Maps `[blocks, kh, kw, i, fused, o]` to `[blocks, kh, kw, fused, i, fused, o]`, zero between groups."""
    same = jnp.eye(split.shape[4], dtype=bool)[:, None, :, None]  # [fused, i, fused, o]
    return jnp.where(same, split[:, :, :, None], 0)
