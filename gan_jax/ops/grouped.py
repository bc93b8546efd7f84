"""Grouped convolution: each group of output channels reads one group of input channels."""

import jax
import jax.numpy as jnp

from . import primitives
from .conv import check_types, conv, make_geometry


def grouped_conv(x: jax.Array, kernel: jax.Array, *, groups: int, stride: int = 1, padding: int = 0) -> jax.Array:
    """Computes the grouped cross-correlation, as `lax.conv_general_dilated` with `feature_group_count` does.

    Output channel o, in group g = o // (O / groups), is the convolution of input channels [g c, (g + 1) c) with
    `kernel[:, :, :, o]`, where c = I / groups. Xie et al., "Aggregated residual transformations for deep neural
    networks", 2017.

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
        TypeError: x and kernel have different types.
    """
    channels, (*size, per_group, features) = x.shape[3], kernel.shape
    if groups < 1 or channels % groups or features % groups:
        raise ValueError(f"groups must divide the {channels} input and {features} output channels, got {groups}")
    if per_group * groups != channels:
        raise ValueError(
            f"{channels} channels in {groups} groups need a kernel with {channels // groups}, not {per_group}"
        )
    check_types(x, kernel)
    if groups == 1:
        return conv(x, kernel, stride=stride, padding=padding)
    if tuple(size) in ((1, 1), x.shape[1:3]) and padding == 0 and stride == 1:
        return _one_window(x, kernel, groups)
    return primitives.forward(x, kernel, make_geometry(x, kernel, stride, padding, groups))


def _one_window(x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """Computes a kernel of 1 x 1, or one as large as the map, as one matrix product per group."""
    kernels = kernel.reshape(*kernel.shape[:3], groups, -1)
    images = x.reshape(*x.shape[:3], groups, -1)
    if kernel.shape[:2] == (1, 1):
        return jnp.einsum("nhwgi,igo->nhwgo", images, kernels[0, 0]).reshape(*x.shape[:3], -1)
    return jnp.einsum("nhwgi,hwigo->ngo", images, kernels).reshape(x.shape[0], 1, 1, -1)
