"""The formulations of a separable FIR filter, with zeros inserted before it or pixels left out after it."""

import functools
import itertools
import math
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .native import DIMENSIONS

Pads = tuple[int, int]  # before and after the image


class Filter(NamedTuple):
    """Inserts up - 1 zeros after every pixel of `[N, *size, C]`, filters, and keeps every `down`-th pixel."""

    size: tuple[int, ...]
    taps: tuple[float, ...]
    up: int  # one of up and down is 1
    down: int
    pads: Pads
    gain: float

    @property
    def output(self) -> tuple[int, ...]:
        return tuple((n * self.up + sum(self.pads) - len(self.taps)) // self.down + 1 for n in self.size)


def _native(x: jax.Array, filter: Filter) -> jax.Array:
    f, rank = np.asarray(filter.taps), len(filter.size)
    product = functools.reduce(np.multiply.outer, [f] * rank)
    return _depthwise(x, np.flip(product) * filter.gain, filter.up, filter.down, filter.pads)


def _separable(gather: Callable[..., jax.Array], spread: Callable[..., jax.Array]):
    def form(x: jax.Array, filter: Filter) -> jax.Array:
        f, along = np.asarray(filter.taps), gather if filter.up == 1 else spread
        for axis in range(1, len(filter.size) + 1):
            x = along(x, axis, f * filter.gain if axis == 1 else f, filter.up * filter.down, filter.pads)
        return x

    return form


def _depthwise(x: jax.Array, filter: np.ndarray, up: int, down: int, pads: Pads) -> jax.Array:
    channels, rank = x.shape[-1], filter.ndim
    kernel = jnp.broadcast_to(jnp.asarray(filter, x.dtype)[..., None, None], (*filter.shape, 1, channels))
    pad = (pads[0], pads[1] + up - 1)  # dilation inserts no zeros after the last pixel
    return lax.conv_general_dilated(
        x, kernel, (down,) * rank, (pad,) * rank, lhs_dilation=(up,) * rank,
        dimension_numbers=DIMENSIONS[rank], feature_group_count=channels,
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
    """Computes `_gather` by strided slices. XLA makes one kernel of all axes on a GPU, and of its derivative."""
    out = (x.shape[axis] + sum(pads) - len(f)) // stride + 1
    padded, last = _pad(x, axis, *pads), (out - 1) * stride + 1
    return _sum(float(w) * lax.slice_in_dim(padded, b, b + last, stride, axis) for b, w in enumerate(f[::-1]))


def _dilate(x: jax.Array, axis: int, f: np.ndarray, factor: int, pads: Pads) -> jax.Array:
    """Computes `_spread` with zeros between pixels, which XLA fuses on a GPU, so they are never written."""
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


def _strides(x: jax.Array, filter: Filter) -> jax.Array:
    """Sums weighted slices. XLA makes one kernel of it on a GPU, and of its transpose; of passes often several."""
    if len(filter.taps) ** len(filter.size) > 16:  # a long sum: a pass for each axis is less work
        return _separable(_stride, _dilate)(x, filter)
    f, ends = filter.taps[::-1], [(out - 1) * filter.down + 1 for out in filter.output]
    spare = [
        (filter.pads[0], end + len(f) - 2 - filter.pads[0] - (n - 1) * filter.up, filter.up - 1)
        for n, end in zip(filter.size, ends)
    ]
    padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *spare, (0, 0, 0)])

    def part(*start: int) -> jax.Array:
        stop = (a + end for a, end in zip(start, ends))
        strides = (1, *(filter.down,) * len(start), 1)
        shifted = lax.slice(padded, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), strides)
        return math.prod((f[a] for a in start), start=filter.gain) * shifted

    return _sum(itertools.starmap(part, itertools.product(range(len(f)), repeat=len(filter.size))))


FORMS: dict[str, Callable[[jax.Array, Filter], jax.Array]] = {
    "native": _native,
    "shifts": _separable(_gather, _spread),
    "strides": _strides,
}
