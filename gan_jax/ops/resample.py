"""Resampling of images by a separable FIR filter.

The filter is `f[a] f[b]`, where f is the taps divided by their sum. Images are zero outside their border. Every
formulation is a plain linear expression, so its derivatives of any order, forward or reverse, are of the same
kind.

Zhang, "Making convolutional networks shift-invariant again", 2019. The alignment is that of Karras et al.,
"Analyzing and improving the image quality of StyleGAN", 2020, whose taps are [1, 3, 3, 1]. With the taps [1, 1],
`upsample` repeats pixels and `downsample` averages them.
"""

import functools
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .backend import formulations

Taps = Sequence[float] | np.ndarray
Pads = tuple[int, int]  # before and after the image


def filter2d(
    x: jax.Array, taps: Taps, *, padding: int | tuple[int, int] | None = None, gain: float = 1.0
) -> jax.Array:
    """Convolves every channel with the filter (this flips the taps, unlike `conv`).

    Args:
        x: `[N, H, W, C]`, floating; 16-bit images are summed in float32.
        taps: `[t]`, constants.
        padding: the number of zeros on every side, or (above and left, below and right). None keeps the size, by
            (t // 2, (t - 1) // 2).
        gain: the factor of a constant image.

    Returns:
        `[N, H + before + after - t + 1, ..., C]` of x's type.

    Raises:
        ValueError: x is not a floating `[N, H, W, C]`, the taps sum to zero, the padding is negative, or the
            result would be empty.
    """
    f = _normalised(x, taps)
    if padding is None:
        padding = (len(f) // 2, (len(f) - 1) // 2)
    pads = (padding, padding) if isinstance(padding, int) else padding
    if min(pads) < 0:
        raise ValueError(f"padding must not be negative, got {pads}")
    if min(x.shape[1:3]) + sum(pads) < len(f):
        raise ValueError(f"{len(f)} taps are longer than an image of {x.shape[1]} x {x.shape[2]} padded by {pads}")
    return _resample(x, f, 1, 1, pads, gain)


def upsample(x: jax.Array, taps: Taps, factor: int = 2, *, gain: float = 1.0) -> jax.Array:
    """Inserts `factor` - 1 zeros after every pixel, applies the filter, and multiplies by `factor`^2.

    A constant image stays constant away from the border if, from each start, the taps that are `factor` apart sum
    to 1 / `factor`, as in [1, 3, 3, 1] / 8 for 2.

    Args:
        x: `[N, H, W, C]`, floating; 16-bit images are summed in float32.
        taps: `[t]`, constants, at least `factor` of them.
        factor: the factor in both directions.
        gain: the factor of a constant image.

    Returns:
        `[N, H factor, W factor, C]` of x's type.

    Raises:
        ValueError: x is not a floating `[N, H, W, C]`, the taps sum to zero, or are fewer than `factor`.
    """
    f = _normalised(x, taps, factor)
    pads = ((len(f) + factor - 1) // 2, (len(f) - factor) // 2)
    return _resample(x, f, factor, 1, pads, gain * factor**2)


def downsample(x: jax.Array, taps: Taps, factor: int = 2, *, gain: float = 1.0) -> jax.Array:
    """Applies the filter, then keeps every `factor`-th pixel.

    Args:
        x: `[N, H, W, C]`, floating; `factor` divides H and W; 16-bit images are summed in float32.
        taps: `[t]`, constants, at least `factor` of them.
        factor: the factor in both directions.
        gain: the factor of a constant image.

    Returns:
        `[N, H / factor, W / factor, C]` of x's type.

    Raises:
        ValueError: x is not a floating `[N, H, W, C]`, `factor` does not divide its sides, or the taps sum to zero
            or are fewer than `factor`.
    """
    f = _normalised(x, taps, factor)
    if x.shape[1] % factor or x.shape[2] % factor:
        raise ValueError(f"an image of {x.shape[1]} x {x.shape[2]} cannot be {factor} times smaller on each side")
    pads = ((len(f) - factor + 1) // 2, (len(f) - factor) // 2)
    return _resample(x, f, 1, factor, pads, gain)


def _normalised(x: jax.Array, taps: Taps, factor: int = 1) -> np.ndarray:
    """Divides the taps by their sum, in float64."""
    if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"a filter needs floating images [N, H, W, C], got {x.dtype} {x.shape}")
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    f = np.asarray(taps, np.float64)
    if f.ndim != 1 or len(f) < factor:
        raise ValueError(f"taps must be a vector of at least {factor} numbers, got shape {f.shape}")
    if not np.isfinite(f).all() or abs(f.sum()) <= 1e-12 * np.abs(f).sum():
        raise ValueError(f"taps must be finite and have a sum other than zero, got {f.tolist()}")
    return f / f.sum()


def _resample(x: jax.Array, f: np.ndarray, up: int, down: int, pads: Pads, gain: float) -> jax.Array:
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if formulations().resample == "native":
        y = _depthwise(y, np.outer(f, f)[::-1, ::-1] * gain, up, down, pads)
    else:
        strided = formulations().resample == "strides"
        along = (_stride if strided else _gather) if up == 1 else (_dilate if strided else _spread)
        for axis, g in ((1, f * gain), (2, f)):
            y = along(y, axis, g, up * down, pads)
    return y.astype(x.dtype)


def _depthwise(x: jax.Array, filter: np.ndarray, up: int, down: int, pads: Pads) -> jax.Array:
    channels = x.shape[3]
    kernel = jnp.broadcast_to(jnp.asarray(filter, x.dtype)[:, :, None, None], (*filter.shape, 1, channels))
    pad = (pads[0], pads[1] + up - 1)  # dilation inserts no zeros after the last pixel
    return lax.conv_general_dilated(
        x, kernel, (down, down), (pad, pad), lhs_dilation=(up, up),
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=channels,
    )  # fmt: skip


def _gather(x: jax.Array, axis: int, f: np.ndarray, stride: int, pads: Pads) -> jax.Array:
    """Computes `y[i] = sum_b f[t - 1 - b] x[stride i + b - pads[0]]` along an axis."""
    out = (x.shape[axis] + sum(pads) - len(f)) // stride + 1
    rows = out - 1 + -(-len(f) // stride)
    padded = _pad(x, axis, pads[0], rows * stride - x.shape[axis] - pads[0])
    # Split instead of strided slices: its derivative is a concatenation, theirs a sum of images with gaps.
    strided = padded.reshape(*x.shape[:axis], rows, stride, *x.shape[axis + 1 :])
    phases = [lax.squeeze(phase, (axis + 1,)) for phase in lax.split(strided, [1] * stride, axis + 1)]
    shifted = [_cut(phases[b % stride], axis, b // stride, out) for b in range(len(f))]
    return _sum(float(w) * part for w, part in zip(f[::-1], shifted))


def _spread(x: jax.Array, axis: int, f: np.ndarray, factor: int, pads: Pads) -> jax.Array:
    """Filters along an axis as if there were zeros between pixels, without inserting them.

    Tap a moves pixel j to `factor j + a - lead`, so output pixel `factor q + r` reads only every `factor`-th tap.
    """
    size, lead = x.shape[axis], len(f) - 1 - pads[0]
    taps = [
        [(a, (r + lead - a) // factor) for a in range((r + lead) % factor, len(f), factor)] for r in range(factor)
    ]
    shifts = [shift for phase in taps for _, shift in phase]
    low, high = max(0, -min(shifts)), max(0, max(shifts))
    padded = _pad(x, axis, low, high)
    phases = [_sum(float(f[a]) * _cut(padded, axis, low + shift, size) for a, shift in phase) for phase in taps]
    return jnp.stack(phases, axis + 1).reshape(*x.shape[:axis], size * factor, *x.shape[axis + 1 :])


def _stride(x: jax.Array, axis: int, f: np.ndarray, stride: int, pads: Pads) -> jax.Array:
    """Computes `_gather` by strided slices, which XLA fuses on a GPU, with those of the other axis too."""
    out = (x.shape[axis] + sum(pads) - len(f)) // stride + 1
    padded = _pad(x, axis, *pads)
    last = (out - 1) * stride + 1
    return _sum(
        float(w) * lax.slice_in_dim(padded, b, b + last, stride, axis) for b, w in enumerate(f[::-1])
    )


def _dilate(x: jax.Array, axis: int, f: np.ndarray, factor: int, pads: Pads) -> jax.Array:
    """Computes `_spread` with the zeros inserted, which XLA never writes on a GPU: it fuses the padding."""
    size = x.shape[axis] * factor
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (pads[0], size + len(f) - 1 - pads[0] - (size - factor + 1), factor - 1)
    padded = lax.pad(x, jnp.zeros((), x.dtype), padding)
    return _sum(float(w) * _cut(padded, axis, b, size) for b, w in enumerate(f[::-1]))


def _pad(x: jax.Array, axis: int, low: int, high: int) -> jax.Array:
    return lax.pad(x, jnp.zeros((), x.dtype), [(low, high, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)])


def _cut(x: jax.Array, axis: int, start: int, size: int) -> jax.Array:
    return lax.slice_in_dim(x, start, start + size, axis=axis)


def _sum(parts) -> jax.Array:
    return functools.reduce(operator.add, parts)
