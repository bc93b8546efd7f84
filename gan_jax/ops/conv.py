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
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .backend import formulations

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


class Geometry(NamedTuple):
    """Static facts of a convolution: stride, padding `((top, bottom), (left, right))`, sizes of x and kernel."""

    stride: int
    padding: tuple[tuple[int, int], tuple[int, int]]
    size: tuple[int, int]
    kernel: tuple[int, int]

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of y."""
        spans = zip(self.size, self.padding, self.kernel)
        height, width = ((n + sum(p) - k) // self.stride + 1 for n, p, k in spans)
        return height, width


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
    """
    if kernel.shape[:2] == (1, 1) and stride == 1 and padding == 0:
        return x @ kernel[0, 0]  # a matrix product in every derivative
    geometry = _geometry(kernel, stride, padding, (x.shape[1], x.shape[2]))
    if formulations().convolution == "native":
        return _native(x, kernel, geometry)
    if geometry.output == (1, 1) and padding == 0 and kernel.shape[:2] == x.shape[1:3]:
        n, (kh, kw, i, o) = x.shape[0], kernel.shape
        return (x.reshape(n, kh * kw * i) @ kernel.reshape(kh * kw * i, o)).reshape(n, 1, 1, o)
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
    """
    height, width = ((n - 1) * stride - 2 * padding + k for n, k in zip(y.shape[1:3], kernel.shape[:2]))
    geometry = _geometry(kernel, stride, padding, (height, width))
    if formulations().convolution == "native":
        return _native_transpose(y, kernel, geometry)
    return _transpose(y, kernel, geometry)


def _native(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    strides = (g.stride, g.stride)
    return lax.conv_general_dilated(x, kernel, strides, g.padding, dimension_numbers=_DIMENSIONS)


def _native_transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    flipped = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    # What the strided convolution never read at the far edge has to be given back as zeros.
    far = [n + sum(p) - k - (out - 1) * g.stride for n, p, k, out in zip(g.size, g.padding, g.kernel, g.output)]
    padding = [(k - 1 - low, k - 1 - high + f) for k, (low, high), f in zip(g.kernel, g.padding, far)]
    return lax.conv_general_dilated(
        y, flipped, (1, 1), padding, lhs_dilation=(g.stride, g.stride), dimension_numbers=_DIMENSIONS
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _forward(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    return _native(x, kernel, g)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    if g.stride == 1:
        return _native_transpose(y, kernel, g)
    # Measured: few output channels, or small maps, are faster as one matrix product and shifted sums.
    if kernel.shape[2] <= 4 or max(y.shape[1:3]) <= 4:
        return _columns_to_image(y, kernel, g)
    return _sub_pixel(y, kernel, g)


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


def _taps(g: Geometry) -> tuple[int, int]:
    """Kernel taps that meet one output pixel, in each direction."""
    return -(-g.kernel[0] // g.stride), -(-g.kernel[1] // g.stride)


def _sub_pixel(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """One dense convolution makes all s x s phases of the output as channels, then they are interleaved.

    Output row s q + r is met by kernel rows a = s t + (r + p) mod s and rows q + (r + p) // s - t of y: every
    phase sees a window of `taps` rows of y, each at a place of its own.
    """
    s, taps = g.stride, _taps(g)
    channels = kernel.shape[2]
    grown = jnp.pad(kernel, [(0, t * s - k) for t, k in zip(taps, g.kernel)] + [(0, 0), (0, 0)])
    phases = grown.reshape(taps[0], s, taps[1], s, channels, -1)[::-1, :, ::-1]  # flipped: correlation
    dense = jnp.transpose(phases, (0, 2, 5, 1, 3, 4)).reshape(*taps, y.shape[3], s * s * channels)
    count = [-(-n // s) for n in g.size]  # pixels of one phase
    starts = [[(r + p[0]) // s - t + 1 for r in range(s)] for p, t in zip(g.padding, taps)]
    low = [-min(start) for start in starts]
    high = [max(start) + c + t - 1 - n for start, c, t, n in zip(starts, count, taps, y.shape[1:3])]
    out = lax.conv_general_dilated(y, dense, (1, 1), list(zip(low, high)), dimension_numbers=_DIMENSIONS)
    out = out.reshape(*out.shape[:3], s, s, channels)

    def phase(row: int, column: int) -> jax.Array:
        top, left = starts[0][row] + low[0], starts[1][column] + low[1]
        a, b = (row + g.padding[0][0]) % s, (column + g.padding[1][0]) % s
        return out[:, top : top + count[0], left : left + count[1], a, b]

    rows = [jnp.stack([phase(r, c) for c in range(s)], axis=3) for r in range(s)]  # [N, q, q, s, I]
    full = jnp.stack(rows, axis=2).reshape(y.shape[0], count[0] * s, count[1] * s, channels)
    return full[:, : g.size[0], : g.size[1]]


def _columns_to_image(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """One matrix product gives each pixel of y its patch; patches are added where they overlap."""
    s, taps = g.stride, _taps(g)
    (n, h, w, o), i = y.shape, kernel.shape[2]
    grown = jnp.pad(kernel, [(0, t * s - k) for t, k in zip(taps, g.kernel)] + [(0, 0), (0, 0)])
    patches = y.reshape(-1, o) @ grown.reshape(-1, o).T
    patches = patches.reshape(n, h, w, taps[0], s, taps[1], s, i)
    total = 0.0
    for a in range(taps[0]):
        for b in range(taps[1]):
            shift = ((0, 0), (a, taps[0] - 1 - a), (b, taps[1] - 1 - b), (0, 0), (0, 0), (0, 0))
            total = total + jnp.pad(patches[:, :, :, a, :, b], shift)  # [N, h + t - 1, w + t - 1, s, s, I]
    full = jnp.transpose(total, (0, 1, 3, 2, 4, 5)).reshape(n, (h + taps[0] - 1) * s, (w + taps[1] - 1) * s, i)
    (top, _), (left, _) = g.padding
    full = full[:, top : top + g.size[0], left : left + g.size[1]]
    missing = [want - have for want, have in zip(g.size, full.shape[1:3])]
    return jnp.pad(full, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
