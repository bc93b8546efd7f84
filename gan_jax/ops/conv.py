"""Strided convolution and its transpose, with derivatives of any order in the same fast formulations.

Signals `[N, T, C]`, images `[N, H, W, C]`, and volumes or videos `[N, D, H, W, C]`: the arrays say which.
"""

import math
from collections.abc import Sequence

import jax

from . import primitives
from .geometry import RANKS, Geometry, for_each_axis

PerAxis = int | Sequence[int]  # one number for all spatial axes, or one for each


def conv(x: jax.Array, kernel: jax.Array, *, stride: PerAxis = 1, padding: PerAxis = 0) -> jax.Array:
    """Computes the cross-correlation, as `lax.conv_general_dilated` does in NHWC/HWIO.

    Args:
        x: `[N, *S, I]`, with one to three spatial axes S.
        kernel: `[*k, I, O]`, with as many.
        stride: the stride along every axis, or one for each axis.
        padding: the number of zeros on every side, or one for each axis.

    Returns:
        `[N, *((S + 2 padding - k) // stride + 1), O]`.

    Raises:
        ValueError: x does not have I channels, has another number of axes than the kernel, or is smaller than it.
        TypeError: x and kernel have different types.
    """
    check(x, kernel)
    _check_channels(x, kernel, kernel.shape[-2])
    geometry = make_geometry(x, kernel, stride, padding)
    if is_pointwise(geometry):
        return x @ kernel[(0,) * geometry.rank]  # a matrix product in every derivative
    if is_whole_map(geometry):
        return (x.reshape(x.shape[0], -1) @ _as_matrix(kernel)).reshape(x.shape[0], *geometry.output, -1)
    return primitives.forward(x, kernel, geometry)


def conv_transpose(y: jax.Array, kernel: jax.Array, *, stride: PerAxis = 1, padding: PerAxis = 0) -> jax.Array:
    """Computes the transpose of `conv` in x, which PyTorch calls ConvTranspose1d, 2d or 3d.

    Args:
        y: `[N, *s, O]`, with one to three spatial axes.
        kernel: `[*k, I, O]`, the kernel of the transposed `conv`, which maps I to O channels.
        stride: the stride of that `conv` along every axis, or one for each axis.
        padding: the padding of that `conv`, or one for each axis.

    Returns:
        `[N, *((s - 1) stride - 2 padding + k), I]`.

    Raises:
        ValueError: y does not have O channels, has another number of axes than the kernel, or the result is empty.
        TypeError: y and kernel have different types.
    """
    check(y, kernel)
    _check_channels(y, kernel, kernel.shape[-1])
    strides, pads = _parameters(kernel, stride, padding)
    spans = zip(y.shape[1:-1], strides, pads, kernel.shape)
    size = tuple((n - 1) * s - 2 * p + k for n, s, p, k in spans)
    if min(size) < 1:
        raise ValueError(
            f"of maps {y.shape}, a padding of {padding} leaves nothing with the kernel {kernel.shape}"
        )
    geometry = _geometry(kernel, strides, pads, size)
    if is_whole_map(geometry):
        return (y.reshape(y.shape[0], -1) @ _as_matrix(kernel).T).reshape(y.shape[0], *size, -1)
    return primitives.transpose(y, kernel, geometry)


def make_geometry(x: jax.Array, kernel: jax.Array, stride: PerAxis, padding: PerAxis, groups: int = 1) -> Geometry:
    """Returns the geometry of a convolution of x `[N, *S, I]`.

    Raises:
        ValueError: x is smaller than the kernel, or there is not one stride or padding for each axis.
    """
    strides, pads = _parameters(kernel, stride, padding)
    geometry = _geometry(kernel, strides, pads, x.shape[1:-1], groups)
    if min(geometry.output) < 1:
        raise ValueError(f"{_kind(x)} {x.shape}, padded by {padding}, are smaller than the kernel {kernel.shape}")
    return geometry


def is_pointwise(g: Geometry) -> bool:
    """Returns whether each pixel of y reads the same pixel of x: a matrix product in every derivative."""
    one = (1,) * g.rank
    return g.kernel == g.stride == one and not any(map(any, g.padding))


def _kind(x: jax.Array) -> str:
    """Returns what an error calls x."""
    return "images" if x.ndim == 4 else "samples"


def check(x: jax.Array, kernel: jax.Array) -> None:
    """Raises an error if x and kernel do not have the same types, or numbers of axes from 1 to 3."""
    rank = kernel.ndim - 2
    if x.ndim - 2 != rank or rank not in RANKS:
        raise ValueError(
            "a convolution needs samples [N, *S, C] and a kernel [*k, I, O] with the same number of spatial axes, "
            f"1 to {RANKS[-1]}, got {x.shape} and {kernel.shape}"
        )
    if x.dtype != kernel.dtype:
        raise TypeError(f"{_kind(x)} and kernel must have one type, got {x.dtype} and {kernel.dtype}")


def _parameters(kernel: jax.Array, stride: PerAxis, padding: PerAxis) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rank = kernel.ndim - 2
    strides = for_each_axis(stride, rank, "stride")
    if min(strides) < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    return strides, for_each_axis(padding, rank, "padding")


def _geometry(
    kernel: jax.Array, strides: tuple[int, ...], pads: tuple[int, ...], size: tuple[int, ...], groups: int = 1
) -> Geometry:
    return Geometry(strides, tuple((p, p) for p in pads), size, kernel.shape[:-2], groups)


def is_whole_map(g: Geometry) -> bool:
    """Returns whether the only window is the whole map, without padding: a matrix product in every derivative."""
    return g.kernel == g.size and not any(map(any, g.padding))


def _as_matrix(kernel: jax.Array) -> jax.Array:
    return kernel.reshape(math.prod(kernel.shape[:-1]), kernel.shape[-1])


def _check_channels(x: jax.Array, kernel: jax.Array, channels: int) -> None:
    """Raises the same error for every formulation; a matrix product would raise another."""
    if x.shape[-1] != channels:
        raise ValueError(
            f"{_kind(x)} have {x.shape[-1]} channels, but the kernel of shape {kernel.shape} needs {channels}"
        )
