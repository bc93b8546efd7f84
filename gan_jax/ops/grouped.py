"""Grouped convolution: each group of output channels reads one group of input channels."""

import jax
import jax.numpy as jnp

from . import primitives
from .conv import PerAxis, check, conv, is_pointwise, is_whole_map, make_geometry
from .geometry import Geometry


def grouped_conv(
    x: jax.Array, kernel: jax.Array, *, groups: int, stride: PerAxis = 1, padding: PerAxis = 0
) -> jax.Array:
    """Computes the grouped cross-correlation, as `lax.conv_general_dilated` with `feature_group_count` does.

    Output channel o, in group g = o // (O / groups), is the convolution of input channels [g c, (g + 1) c) with
    `kernel[..., o]`, where c = I / groups. Xie et al., "Aggregated residual transformations for deep neural
    networks", 2017.

    Args:
        x: `[N, *S, I]`, with one to three spatial axes S.
        kernel: `[*k, I / groups, O]`.
        groups: the number of groups, which divides I and O.
        stride: the stride along every axis, or one for each axis.
        padding: the number of zeros on every side, or one for each axis.

    Returns:
        `[N, *((S + 2 padding - k) // stride + 1), O]`.

    Raises:
        ValueError: `groups` does not divide I and O, the kernel does not have I / groups input channels, or x has
            another number of axes than the kernel, or is smaller than it.
        TypeError: x and kernel have different types.
    """
    check(x, kernel)
    channels, (per_group, features) = x.shape[-1], kernel.shape[-2:]
    if groups < 1 or channels % groups or features % groups:
        raise ValueError(f"groups must divide the {channels} input and {features} output channels, got {groups}")
    if per_group * groups != channels:
        raise ValueError(
            f"{channels} channels in {groups} groups need a kernel with {channels // groups}, not {per_group}"
        )
    if groups == 1:
        return conv(x, kernel, stride=stride, padding=padding)
    geometry = make_geometry(x, kernel, stride, padding, groups)
    if is_pointwise(geometry) or is_whole_map(geometry):
        return _one_window(x, kernel, geometry)
    return primitives.forward(x, kernel, geometry)


def _one_window(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Computes a kernel of one pixel, or one as large as the map, as one matrix product per group."""
    kernels = kernel.reshape(*kernel.shape[:-1], g.groups, -1)
    images = x.reshape(*x.shape[:-1], g.groups, -1)
    axes = "xyz"[: g.rank]
    if is_pointwise(g):
        y = jnp.einsum(f"n{axes}gi,igo->n{axes}go", images, kernels[(0,) * g.rank])
    else:
        y = jnp.einsum(f"n{axes}gi,{axes}igo->ngo", images, kernels)
    return y.reshape(x.shape[0], *g.output, -1)
