"""Strided convolution and its transpose, with derivatives of any order in the same fast formulations."""

import math

import jax

from . import primitives
from .geometry import Geometry


def conv(x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int = 0) -> jax.Array:
    """Computes the cross-correlation, as `lax.conv_general_dilated` does in NHWC/HWIO.

    Args:
        x: `[N, H, W, I]`.
        kernel: `[kh, kw, I, O]`.
        stride: the stride in both directions.
        padding: the number of zeros on every side.

    Returns:
        `[N, (H + 2 padding - kh) // stride + 1, ..., O]`.

    Raises:
        ValueError: x does not have I channels, or is smaller than the kernel.
        TypeError: x and kernel have different types.
    """
    _check(x, kernel, kernel.shape[2])
    if kernel.shape[:2] == (1, 1) and stride == 1 and padding == 0:
        return x @ kernel[0, 0]  # a matrix product in every derivative
    geometry = make_geometry(x, kernel, stride, padding)
    if _is_whole_map(geometry):
        return (x.reshape(x.shape[0], -1) @ _as_matrix(kernel)).reshape(x.shape[0], 1, 1, -1)
    return primitives.forward(x, kernel, geometry)


def conv_transpose(y: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int = 0) -> jax.Array:
    """Computes the transpose of `conv` in x, which PyTorch calls ConvTranspose2d.

    Args:
        y: `[N, h, w, O]`.
        kernel: `[kh, kw, I, O]`, the kernel of the transposed `conv`, which maps I to O channels.
        stride: the stride of that `conv`, in both directions.
        padding: the padding of that `conv`.

    Returns:
        `[N, (h - 1) stride - 2 padding + kh, ..., I]`.

    Raises:
        ValueError: y does not have O channels.
        TypeError: y and kernel have different types.
    """
    _check(y, kernel, kernel.shape[3])
    height, width = ((n - 1) * stride - 2 * padding + k for n, k in zip(y.shape[1:3], kernel.shape[:2]))
    geometry = _geometry(kernel, stride, padding, (height, width))
    if _is_whole_map(geometry):
        return (y.reshape(y.shape[0], -1) @ _as_matrix(kernel).T).reshape(y.shape[0], height, width, -1)
    return primitives.transpose(y, kernel, geometry)


def make_geometry(x: jax.Array, kernel: jax.Array, stride: int, padding: int, groups: int = 1) -> Geometry:
    """Returns the geometry of a convolution of x `[N, H, W, I]`.

    Raises:
        ValueError: x is smaller than the kernel.
    """
    geometry = _geometry(kernel, stride, padding, (x.shape[1], x.shape[2]), groups)
    if min(geometry.output) < 1:
        raise ValueError(f"images {x.shape}, padded by {padding}, are smaller than the kernel {kernel.shape}")
    return geometry


def _geometry(kernel: jax.Array, stride: int, padding: int, size: tuple[int, int], groups: int = 1) -> Geometry:
    pad = (padding, padding)
    return Geometry(stride, (pad, pad), size, (kernel.shape[0], kernel.shape[1]), groups)


def _is_whole_map(g: Geometry) -> bool:
    """Returns whether the only window is the whole map, without padding: a matrix product in every derivative."""
    return g.kernel == g.size and g.output == (1, 1) and g.padding == ((0, 0), (0, 0))


def _as_matrix(kernel: jax.Array) -> jax.Array:
    return kernel.reshape(math.prod(kernel.shape[:3]), kernel.shape[3])


def _check(images: jax.Array, kernel: jax.Array, channels: int) -> None:
    """Raises the same errors for every formulation; a matrix product would raise others, and mix types."""
    if images.shape[3] != channels:
        raise ValueError(
            f"images have {images.shape[3]} channels, but the kernel of shape {kernel.shape} needs {channels}"
        )
    check_types(images, kernel)


def check_types(images: jax.Array, kernel: jax.Array) -> None:
    """Raises TypeError if images and kernel have different types."""
    if images.dtype != kernel.dtype:
        raise TypeError(f"images and kernel must have one type, got {images.dtype} and {kernel.dtype}")
