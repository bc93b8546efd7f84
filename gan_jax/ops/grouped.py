"""Grouped convolution: channels in groups that do not see each other."""

import jax
import jax.numpy as jnp
from jax import lax

from .backend import formulations
from .conv import conv

# Measured on the CPU with 1 to 16 channels a group, forward and backward: blocks of 4 channels take 3 times as
# long as blocks of 16, blocks of 8 1.1 times; of 32 1.3 times and of 64 twice, for the products with zeros.
_CHANNELS = 16


def grouped_conv(x: jax.Array, kernel: jax.Array, *, groups: int, stride: int = 1, padding: int = 0) -> jax.Array:
    """Cross-correlation in `groups` groups, as `feature_group_count` of `lax.conv_general_dilated` in NHWC/HWIO.

    Output channel o, in group g = o // (O / groups), is the convolution of input channels [g c, (g + 1) c) with
    `kernel[:, :, :, o]`, where c = I / groups. Xie et al., "Aggregated residual transformations for deep neural
    networks", 2017. In blocks (`backend.FORMULATIONS`) its derivatives are those of `conv`, in reverse mode alone.

    Args:
        x: `[N, H, W, I]`.
        kernel: `[kh, kw, I / groups, O]`.
        groups: how many; it divides I and O.
        stride: in both directions.
        padding: zeros on every side.

    Returns:
        `[N, (H + 2 padding - kh) // stride + 1, ..., O]`.

    Raises:
        ValueError: `groups` does not divide I and O, or the kernel does not take I / groups channels.
    """
    channels, (*size, taken, features) = x.shape[3], kernel.shape
    if groups < 1 or channels % groups or features % groups:
        raise ValueError(
            f"groups must divide the {channels} channels taken and the {features} given, got {groups}"
        )
    if taken * groups != channels:
        raise ValueError(f"{groups} groups of {channels} channels take {channels // groups} each, not {taken}")
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
    """The one pixel that a kernel as large as the map gives: a product of matrices for each group."""
    images = x.reshape(*x.shape[:3], groups, -1)
    kernels = kernel.reshape(*kernel.shape[:3], groups, -1)
    return jnp.einsum("nhwgi,hwigo->ngo", images, kernels).reshape(x.shape[0], 1, 1, -1)


def _blocks(x: jax.Array, kernel: jax.Array, groups: int, stride: int, padding: int) -> jax.Array:
    """Blocks of one or more groups, each a dense convolution; a loop, which compiles once for all of them."""
    kernels = _diagonal(kernel, groups, _fused(groups, max(kernel.shape[2], kernel.shape[3] // groups)))
    images = jnp.moveaxis(x.reshape(*x.shape[:3], kernels.shape[0], -1), 3, 0)  # [blocks, N, H, W, i]
    out = lax.map(lambda block: conv(*block, stride=stride, padding=padding), (images, kernels))
    return jnp.moveaxis(out, 0, 3).reshape(*out.shape[1:4], -1)


def _fused(groups: int, width: int) -> int:
    """Groups in a block: as many as divide their number and have no more than _CHANNELS channels, or one."""
    return max(n for n in range(1, groups + 1) if groups % n == 0 and n * width <= max(_CHANNELS, width))


def _diagonal(kernel: jax.Array, groups: int, fused: int) -> jax.Array:
    """Dense kernels `[groups / fused, kh, kw, fused i, fused o]`, zero between groups."""
    kh, kw, i, features = kernel.shape
    blocks, o = groups // fused, features // groups
    split = jnp.transpose(kernel.reshape(kh, kw, i, blocks, fused, o), (3, 0, 1, 2, 4, 5))
    same = jnp.eye(fused, dtype=bool)[:, None, :, None]  # [fused, i, fused, o]
    dense = jnp.where(same, split[:, :, :, None], 0)  # [blocks, kh, kw, fused, i, fused, o]
    return dense.reshape(blocks, kh, kw, fused * i, fused * o)
