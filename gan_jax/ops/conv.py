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
    """Cross-correlation, as `lax.conv_general_dilated` in NHWC/HWIO.

    Args:
        x: `[N, H, W, I]`.
        kernel: `[kh, kw, I, O]`.
        stride: in both directions.
        padding: zeros on every side.

    Returns:
        `[N, (H + 2 padding - kh) // stride + 1, ..., O]`.

    Raises:
        ValueError: x has other channels than the kernel takes, or is smaller than it.
        TypeError: their types differ.
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
        # At stride 1 a convolution is a transpose, too: of one whose input has few channels.
        above, beside = (k - 1 - padding for k in geometry.kernel)
        back = Geometry(1, ((above, above), (beside, beside)), geometry.output, geometry.kernel)
        return _transpose(x, _turned(kernel), back)
    return _forward(x, kernel, geometry)


def conv_transpose(y: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int = 0) -> jax.Array:
    """The transpose of `conv` in x, what PyTorch calls ConvTranspose2d.

    Args:
        y: `[N, h, w, O]`.
        kernel: `[kh, kw, I, O]`: the kernel of the `conv` it transposes, from I to O channels.
        stride: in both directions.
        padding: that of the `conv` it transposes.

    Returns:
        `[N, (h - 1) stride - 2 padding + kh, ..., I]`.

    Raises:
        ValueError: y has other channels than the kernel's O.
        TypeError: their types differ.
    """
    _check(y, kernel, kernel.shape[3])
    height, width = ((n - 1) * stride - 2 * padding + k for n, k in zip(y.shape[1:3], kernel.shape[:2]))
    geometry = _geometry(kernel, stride, padding, (height, width))
    if formulations().convolution == "native":
        return _native_transpose(y, kernel, geometry)
    return _transpose(y, kernel, geometry)


def _check(images: jax.Array, kernel: jax.Array, channels: int) -> None:
    """Of every formulation the same: a matrix product has words of its own, and lets types differ."""
    if images.shape[3] != channels:
        raise ValueError(
            f"images of {images.shape[3]} channels meet a kernel {kernel.shape} that takes {channels}"
        )
    if images.dtype != kernel.dtype:
        raise TypeError(f"images and kernel must be of one type, got {images.dtype} and {kernel.dtype}")


def _native(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    strides = (g.stride, g.stride)
    return lax.conv_general_dilated(x, kernel, strides, g.padding, dimension_numbers=_DIMENSIONS)


def _native_transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    # What the strided convolution never read at the far edge has to be given back as zeros.
    far = [n + sum(p) - k - (out - 1) * g.stride for n, p, k, out in zip(g.size, g.padding, g.kernel, g.output)]
    padding = [(k - 1 - low, k - 1 - high + f) for k, (low, high), f in zip(g.kernel, g.padding, far)]
    return lax.conv_general_dilated(
        y, _turned(kernel), (1, 1), padding, lhs_dilation=(g.stride, g.stride), dimension_numbers=_DIMENSIONS
    )


def _few(channels: int) -> bool:
    """Whether a transposed convolution to so many channels is a case for `patches`.

    Measured with 1 and 3: it takes a half to a fifth of the time. The convolution from so few channels, and the
    kernel's derivative, were tried as patches too, and a whole step gained 0 to 2 %.
    """
    return channels <= 4


def _turned(kernel: jax.Array) -> jax.Array:
    """The kernel with which a convolution at stride 1 goes the other way."""
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
    """The derivative by the kernel, as a convolution in plain order: samples are its channels."""
    # jnp.transpose, not dimension numbers: inside a loop XLA leaves unusual orders to a naive routine.
    images = jnp.transpose(x, (3, 1, 2, 0))  # [I, H, W, N]
    windows = jnp.transpose(y, (1, 2, 0, 3))  # [h, w, N, O]
    (top, bottom), (left, right) = g.padding
    used = [(out - 1) * g.stride + k for out, k in zip(g.output, g.kernel)]
    bottom, right = used[0] - g.size[0] - top, used[1] - g.size[1] - left  # rows no window reaches are cut
    out = lax.conv_general_dilated(
        images, windows, (1, 1), ((top, bottom), (left, right)),
        rhs_dilation=(g.stride, g.stride), dimension_numbers=_DIMENSIONS,
    )  # fmt: skip
    return jnp.transpose(out, (1, 2, 0, 3))  # [I, kh, kw, O] to [kh, kw, I, O]


def _saved(function):
    return lambda a, b, g: (function(a, b, g), (a, b))


_forward.defvjp(_saved(_forward), lambda g, saved, y: (_transpose(y, saved[1], g), _kernel(saved[0], y, g)))
_transpose.defvjp(_saved(_transpose), lambda g, saved, x: (_forward(x, saved[1], g), _kernel(x, saved[0], g)))
_kernel.defvjp(_saved(_kernel), lambda g, saved, w: (_transpose(saved[1], w, g), _forward(saved[0], w, g)))


def _phases(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """A dense convolution for each of the s x s phases of the output, interleaved.

    Output row s q + r is met by kernel rows a = s t + (r + p) mod s and rows q + (r + p) // s - t of y.
    """
    s = g.stride
    count = [-(-n // s) for n in g.size]  # pixels of one phase

    def window(axis: int, phase: int) -> tuple[slice, int, tuple[int, int]]:
        """The kernel rows of a phase, and the padding with which a convolution of y by them has `count` rows."""
        shift, first = divmod(phase + g.padding[axis][0], s)
        taps = len(range(first, g.kernel[axis], s))
        low = taps - 1 - shift
        return slice(first, None, s), taps, (low, count[axis] + taps - 1 - low - y.shape[1 + axis])

    def phase(row: int, column: int) -> jax.Array:
        (rows, high, vertical), (columns, wide, horizontal) = window(0, row), window(1, column)
        if not high * wide:  # a kernel smaller than its stride leaves gaps
            return patches.padded(y[:, :0, :0, :0], (0, 0), *((0, n) for n in (*count, kernel.shape[2])))
        part = _turned(kernel[rows, columns])
        return lax.conv_general_dilated(y, part, (1, 1), (vertical, horizontal), dimension_numbers=_DIMENSIONS)

    whole = jnp.stack([jnp.stack([phase(r, c) for c in range(s)], axis=3) for r in range(s)], axis=2)
    whole = whole.reshape(y.shape[0], count[0] * s, count[1] * s, kernel.shape[2])  # of [N, q, s, q, s, I]
    return whole[:, : g.size[0], : g.size[1]]
