"""Strided convolution and its transpose, closed under repeated reverse differentiation.

Three bilinear functions of an input `x [N, H, W, I]`, an output `y [N, h, w, O]` and a kernel
`w [kh, kw, I, O]`, each the derivative of the others (s is the stride, p the padding in front):

    forward    y[n, i, j, o] = sum_abi x[n, s i + a - p, s j + b - p, i] w[a, b, i, o]
    transpose  x             = the same sum, over y and w
    kernel     w             = the same sum, over x and y

On the CPU each is written in the formulation that XLA runs fast there (`backend.FORMULATIONS`), with
a custom derivative in terms of the other two; this rules out forward-mode differentiation (`jax.jvp`).
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from . import patches
from .backend import formulations
from .geometry import Geometry

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def _geometry(kernel: jax.Array, stride: int, padding: int, size: tuple[int, int]) -> Geometry:
    pad = (padding, padding)
    return Geometry(stride, (pad, pad), size, (kernel.shape[0], kernel.shape[1]))


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
    geometry = _geometry(kernel, stride, padding, (x.shape[1], x.shape[2]))
    if min(geometry.output) < 1:
        raise ValueError(f"images {x.shape}, padded by {padding}, are smaller than the kernel {kernel.shape}")
    if formulations().convolution == "native":
        return _native(x, kernel, geometry)
    if geometry.output == (1, 1) and padding == 0 and kernel.shape[:2] == x.shape[1:3]:
        n, (kh, kw, i, o) = x.shape[0], kernel.shape
        return (x.reshape(n, kh * kw * i) @ kernel.reshape(kh * kw * i, o)).reshape(n, 1, 1, o)
    if stride == 1 and _few(kernel.shape[3]) and not _few(kernel.shape[2]):
        # At stride 1 a convolution is also the transpose of a convolution, whose input here has few channels.
        rows, columns = (k - 1 - padding for k in geometry.kernel)
        transposed = Geometry(1, ((rows, rows), (columns, columns)), geometry.output, geometry.kernel)
        return _transpose(x, _flipped(kernel), transposed)
    return _forward(x, kernel, geometry)


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
    if formulations().convolution == "native":
        return _native_transpose(y, kernel, geometry)
    return _transpose(y, kernel, geometry)


def _check(images: jax.Array, kernel: jax.Array, channels: int) -> None:
    """Raises the same errors for every formulation; a matrix product would raise others, and mix types."""
    if images.shape[3] != channels:
        raise ValueError(
            f"images have {images.shape[3]} channels, but the kernel of shape {kernel.shape} needs {channels}"
        )
    if images.dtype != kernel.dtype:
        raise TypeError(f"images and kernel must have one type, got {images.dtype} and {kernel.dtype}")


def _native(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    strides = (g.stride, g.stride)
    return lax.conv_general_dilated(x, kernel, strides, g.padding, dimension_numbers=_DIMENSIONS)


def _native_transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    # Pixels at the far edge that the strided convolution never reads get zeros.
    far = [n + sum(p) - k - (out - 1) * g.stride for n, p, k, out in zip(g.size, g.padding, g.kernel, g.output)]
    padding = [(k - 1 - low, k - 1 - high + f) for k, (low, high), f in zip(g.kernel, g.padding, far)]
    return lax.conv_general_dilated(
        y, _flipped(kernel), (1, 1), padding, lhs_dilation=(g.stride, g.stride), dimension_numbers=_DIMENSIONS
    )


def _few(channels: int) -> bool:
    """Returns whether a transposed convolution to this number of channels should use `patches`.

    Measured with 1 and 3 channels, it then takes a half to a fifth of the time. Patches for the convolution from
    so few channels, and for the kernel's derivative, made a whole step only 0 to 2 % faster.
    """
    return channels <= 4


def _flipped(kernel: jax.Array) -> jax.Array:
    """Returns the kernel of the transposed convolution at stride 1: flipped, with input and output swapped."""
    return jnp.swapaxes(kernel[::-1, ::-1], 2, 3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _forward(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    return _native(x, kernel, g)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    if _few(kernel.shape[2]):
        return patches.transpose(y, kernel, g)
    return _native_transpose(y, kernel, g) if g.stride == 1 else _phases(y, kernel, g)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """Computes the derivative by the kernel as a convolution in the usual order; its channels are the samples."""
    # Use jnp.transpose and not dimension numbers: inside a loop, XLA computes unusual orders with a naive routine.
    images = jnp.transpose(x, (3, 1, 2, 0))  # [I, H, W, N]
    windows = jnp.transpose(y, (1, 2, 0, 3))  # [h, w, N, O]
    (top, bottom), (left, right) = g.padding
    used = [(out - 1) * g.stride + k for out, k in zip(g.output, g.kernel)]
    bottom, right = used[0] - g.size[0] - top, used[1] - g.size[1] - left  # cuts rows that no window reaches
    out = lax.conv_general_dilated(
        images, windows, (1, 1), ((top, bottom), (left, right)),
        rhs_dilation=(g.stride, g.stride), dimension_numbers=_DIMENSIONS,
    )  # fmt: skip
    return jnp.transpose(out, (1, 2, 0, 3))  # [I, kh, kw, O] to [kh, kw, I, O]


def _save(function):
    return lambda a, b, g: (function(a, b, g), (a, b))


_forward.defvjp(_save(_forward), lambda g, saved, y: (_transpose(y, saved[1], g), _kernel(saved[0], y, g)))
_transpose.defvjp(_save(_transpose), lambda g, saved, x: (_forward(x, saved[1], g), _kernel(x, saved[0], g)))
_kernel.defvjp(_save(_kernel), lambda g, saved, w: (_transpose(saved[1], w, g), _forward(saved[0], w, g)))


def _phases(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Computes each of the s x s phases of the output as a dense convolution, and interleaves them.

    Output row s q + r reads the kernel rows a = s t + (r + p) mod s and the rows q + (r + p) // s - t of y.
    """
    s = g.stride
    count = [-(-n // s) for n in g.size]  # the size of one phase

    def window(axis: int, phase: int) -> tuple[slice, int, tuple[int, int]]:
        """Returns a phase's kernel rows, their number, and the padding of y that gives `count` output rows."""
        shift, first = divmod(phase + g.padding[axis][0], s)
        taps = len(range(first, g.kernel[axis], s))
        low = taps - 1 - shift
        return slice(first, None, s), taps, (low, count[axis] + taps - 1 - low - y.shape[1 + axis])

    def phase(row: int, column: int) -> jax.Array:
        (rows, height, vertical), (columns, width, horizontal) = window(0, row), window(1, column)
        if not height * width:  # a kernel smaller than its stride leaves gaps
            return patches.padded(y[:, :0, :0, :0], (0, 0), *((0, n) for n in (*count, kernel.shape[2])))
        part = _flipped(kernel[rows, columns])
        return lax.conv_general_dilated(y, part, (1, 1), (vertical, horizontal), dimension_numbers=_DIMENSIONS)

    whole = jnp.stack([jnp.stack([phase(r, c) for c in range(s)], axis=3) for r in range(s)], axis=2)
    whole = whole.reshape(y.shape[0], count[0] * s, count[1] * s, kernel.shape[2])  # of [N, q, s, q, s, I]
    return whole[:, : g.size[0], : g.size[1]]
