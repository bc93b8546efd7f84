"""Resampling of signals, images, volumes and videos by a separable FIR filter.

The filter is `f[a]`, `f[a] f[b]` or `f[a] f[b] f[c]`, by the rank of the samples, where f is the taps divided by
their sum. Samples are zero outside their border. Every formulation is a plain linear expression, so its
derivatives of any order, forward or reverse, are of the same kind. Which one computes the primitive is chosen when
it is lowered, for the platform that is compiled for.

Zhang, "Making convolutional networks shift-invariant again", 2019. The alignment is that of Karras et al.,
"Analyzing and improving the image quality of StyleGAN", 2020, whose taps are [1, 3, 3, 1]. With the taps [1, 1],
`upsample` repeats pixels and `downsample` averages them.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .backend import formulations
from .fir import FORMS, Filter, Pads
from .float32 import widen
from .geometry import RANKS, for_each_axis
from .linear import Shape, linear_primitive
from .vary import vary_alike

Taps = Sequence[float] | np.ndarray


def fir_filter(
    x: jax.Array, taps: Taps, *, padding: int | tuple[int, int] | None = None, gain: float = 1.0
) -> jax.Array:
    """Convolves every channel with the filter (this flips the taps, unlike `conv`).

    Args:
        x: `[N, *S, C]`, floating, with one to three spatial axes S; 16-bit images are summed in float32.
        taps: `[t]`, constants.
        padding: the number of zeros on every side, or (before, after) along each axis. None keeps the size, by
            (t // 2, (t - 1) // 2).
        gain: the factor of a constant image.

    Returns:
        `[N, *(S + before + after - t + 1), C]` of x's type.

    Raises:
        ValueError: x is not a floating `[N, *S, C]`, the taps sum to zero, the padding is negative, or the result
            would be empty.
    """
    f = _normalised(x, taps)
    if padding is None:
        padding = (len(f) // 2, (len(f) - 1) // 2)
    pads = (padding, padding) if isinstance(padding, int) else padding
    if min(pads) < 0:
        raise ValueError(f"padding must not be negative, got {pads}")
    if min(x.shape[1:-1]) + sum(pads) < len(f):
        raise ValueError(f"{len(f)} taps are longer than an image of {_size(x)} padded by {pads}")
    return _resample(x, f, 1, 1, pads, gain)


def filter2d(
    x: jax.Array, taps: Taps, *, padding: int | tuple[int, int] | None = None, gain: float = 1.0
) -> jax.Array:
    """Filters images `[N, H, W, C]`, as `fir_filter` does samples of any rank.

    Raises:
        ValueError: x is not a floating `[N, H, W, C]`; and what `fir_filter` raises.
    """
    if x.ndim != 4:
        raise ValueError(f"filter2d needs floating images [N, H, W, C], got {x.dtype} {x.shape}")
    return fir_filter(x, taps, padding=padding, gain=gain)


def upsample(x: jax.Array, taps: Taps, factor: int | Sequence[int] = 2, *, gain: float = 1.0) -> jax.Array:
    """Inserts `factor` - 1 zeros after every pixel, applies the filter, and multiplies by `factor` for each axis.

    A constant image stays constant away from the border if, from each start, the taps that are `factor` apart sum
    to 1 / `factor`, as in [1, 3, 3, 1] / 8 for 2.

    Args:
        x: `[N, *S, C]`, floating, with one to three spatial axes S; 16-bit images are summed in float32.
        taps: `[t]`, constants, at least `factor` of them.
        factor: the factor along every axis, or one for each axis; a 1 among several leaves its axis as it is.
        gain: the factor of a constant image.

    Returns:
        `[N, *(S factor), C]` of x's type.

    Raises:
        ValueError: x is not a floating `[N, *S, C]`, the taps sum to zero, or are fewer than `factor`.
    """
    if isinstance(factor, Sequence):
        return _along_each(upsample, x, taps, factor, gain)
    f = _normalised(x, taps, factor)
    pads = ((len(f) + factor - 1) // 2, (len(f) - factor) // 2)
    return _resample(x, f, factor, 1, pads, gain * factor ** (x.ndim - 2))


def downsample(x: jax.Array, taps: Taps, factor: int | Sequence[int] = 2, *, gain: float = 1.0) -> jax.Array:
    """Applies the filter, then keeps every `factor`-th pixel.

    Args:
        x: `[N, *S, C]`, floating, with one to three spatial axes S that `factor` divides; 16-bit images are summed
            in float32.
        taps: `[t]`, constants, at least `factor` of them.
        factor: the factor along every axis, or one for each axis; a 1 among several leaves its axis as it is.
        gain: the factor of a constant image.

    Returns:
        `[N, *(S / factor), C]` of x's type.

    Raises:
        ValueError: x is not a floating `[N, *S, C]`, `factor` does not divide its sides, or the taps sum to zero
            or are fewer than `factor`.
    """
    if isinstance(factor, Sequence):
        return _along_each(downsample, x, taps, factor, gain)
    f = _normalised(x, taps, factor)
    if any(n % factor for n in x.shape[1:-1]):
        raise ValueError(f"an image of {_size(x)} cannot be {factor} times smaller on each side")
    pads = ((len(f) - factor + 1) // 2, (len(f) - factor) // 2)
    return _resample(x, f, 1, factor, pads, gain)


def _along_each(
    resample: Callable[..., jax.Array], x: jax.Array, taps: Taps, factors: Sequence[int], gain: float
) -> jax.Array:
    """Resamples neighbouring axes of one factor together; other axes are samples (before) or channels (after)."""
    _normalised(x, taps)  # refuses what is wrong with x before its axes are gone
    factors = for_each_axis(factors, x.ndim - 2, "factor")
    y, end = widen(x), 1
    for factor, neighbours in itertools.groupby(factors):
        start, end = end, end + len(list(neighbours))
        if factor == 1:
            continue
        *before, after = math.prod(y.shape[:start]), *y.shape[start:end], math.prod(y.shape[end:])
        part = resample(y.reshape(*before, after), taps, factor)
        y = part.reshape(*y.shape[:start], *part.shape[1:-1], *y.shape[end:])
    return (gain * y).astype(x.dtype)


def _size(x: jax.Array) -> str:
    return " x ".join(map(str, x.shape[1:-1]))


def _normalised(x: jax.Array, taps: Taps, factor: int = 1) -> np.ndarray:
    """Divides the taps by their sum, in float64."""
    if x.ndim - 2 not in RANKS or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"a filter needs floating samples [N, *S, C], with 1 to {RANKS[-1]} axes S, got {x.dtype} {x.shape}"
        )
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    f = np.asarray(taps, np.float64)
    if f.ndim != 1 or len(f) < factor:
        raise ValueError(f"taps must be a vector of at least {factor} numbers, got shape {f.shape}")
    if not np.isfinite(f).all() or abs(f.sum()) <= 1e-12 * np.abs(f).sum():
        raise ValueError(f"taps must be finite and have a sum other than zero, got {f.tolist()}")
    return f / f.sum()


def _resample(x: jax.Array, f: np.ndarray, up: int, down: int, pads: Pads, gain: float) -> jax.Array:
    filter = Filter(x.shape[1:-1], tuple(f.tolist()), up, down, pads, gain)
    return _primitive.bind(widen(x), filter=filter, transposed=False).astype(x.dtype)


def compute(platform: str, x: jax.Array, *, filter: Filter, transposed: bool) -> jax.Array:
    """Applies the filter, or its transpose, as `FORMULATIONS` says for the platform."""
    form = FORMS[formulations(platform).resample]
    if not transposed:
        return form(x, filter)
    before, x = vary_alike(jnp.zeros((x.shape[0], *filter.size, x.shape[-1]), x.dtype), x)
    (y,) = jax.vjp(lambda x: form(x, filter), before)[1](x)
    return y


def _shape(x: Any, *, filter: Filter, transposed: bool) -> Shape:
    return x.shape[0], *(filter.size if transposed else filter.output), x.shape[-1]


_primitive = linear_primitive("resample", compute, _shape)
