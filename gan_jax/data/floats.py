"""Maps an array of any numbers to float32 samples of any rank, such as audio, volumes or latents."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from ..errors import UserError
from .arrays import is_audio
from .decode import Range

_PART = 2**20  # numbers that are mapped at a time
Scale = float | Literal["std"]
"""A factor, or "std": 1 / the standard deviation of all numbers."""


class Mapped(NamedTuple):
    """Samples as float32 `[N, ...]`, and a line that says how they were made of the array."""

    samples: np.ndarray
    note: str


def map_to_floats(name: str, samples: np.ndarray, range: Range | None, scale: Scale | None) -> Mapped:
    """Returns float32 samples: those of `range` become -1 to 1, or all are multiplied by `scale`.

    Without both, floats are used as they are. Then they must lie in [-1, 1], and some must be negative: floats
    from 0 to 1 are nearly always images that want a range.

    name: of the array, for messages.

    Raises:
        UserError: the numbers do not suit.
    """
    low, high = float(samples.min()), float(samples.max())
    if not math.isfinite(low + high):
        raise UserError(f"{name} holds values that are not finite")
    held = f"the array is {samples.dtype} from {low:.4g} to {high:.4g}{_order(samples.shape)}"
    if range is not None:
        mapped, outside = _map_range(samples, range)
        first, last = range
        clipped = f", and {outside:,} of {samples.size:,} numbers beyond them are clipped" if outside else ""
        return Mapped(mapped, f"note: {held}; {first:g} to {last:g} become -1 to 1{clipped}")
    if scale is not None:
        if scale == "std" and low == high:
            raise UserError(f"{name} has one value only, so data.source.scale=std has no meaning: give a number")
        factor, how = _factor(samples, scale)
        mapped = np.empty(samples.shape, np.float32)
        with np.errstate(over="ignore"):
            for part in _parts(samples):
                np.multiply(samples[part], np.float64(factor), out=mapped[part], casting="unsafe")
        low, high = float(mapped.min()), float(mapped.max())
        if not math.isfinite(low + high):
            raise UserError(f"{name} times {factor:g} lies beyond float32: give a smaller data.source.scale")
        beyond = max(-low, high) > 1
        reach = ", and a generator whose last layer is tanh reaches -1 to 1 only" if beyond else ""
        return Mapped(mapped, f"note: {held}; times {factor:g}{how} it is {low:.4g} to {high:.4g}{reach}")
    if samples.dtype.kind != "f" or not -1 <= low < 0 or high > 1:
        wanted = "floats must lie in [-1, 1], with some of them negative"
        wanted = wanted if samples.dtype.kind == "f" else "these integers must become floats"
        example = " (-32768,32768 for 16-bit audio)" if samples.dtype == np.int16 and is_audio(samples) else ""
        images = "; images need a last axis of channels: [N, H, W, 1]" if samples.dtype == np.uint8 else ""
        raise UserError(
            f"{name} holds {low:g} to {high:g}, but {wanted}: pass data.source.range=LOW,HIGH for the values that "
            f"become -1 and 1{example}, or data.source.scale=FACTOR (or std){images}"
        )
    return Mapped(samples.astype(np.float32, copy=False), f"note: {held}, and is used as it is")


def _parts(samples: np.ndarray) -> Iterator[slice]:
    """Yields slices of the first axis; numbers in float64 are made of one at a time, to save memory."""
    step = max(1, _PART * len(samples) // samples.size)
    return (slice(start, start + step) for start in range(0, len(samples), step))


def _map_range(samples: np.ndarray, limits: Range) -> tuple[np.ndarray, int]:
    """Returns float32 samples, in which `limits` are -1 and 1, and how many numbers lay beyond and are clipped."""
    first, last = limits
    mapped, outside = np.empty(samples.shape, np.float32), 0
    for part in _parts(samples):
        values = samples[part]
        outside += int(np.count_nonzero((values < first) | (values > last)))
        values = (values - np.float64(first)) * (2 / (last - first)) - 1
        mapped[part] = np.clip(values, -1, 1, out=values)
    return mapped, outside


def _order(shape: tuple[int, ...]) -> str:
    """Returns a hint if the channels seem to come first, as PyTorch has them: [N, C, H, W] or [N, C, T]."""
    is_square = len(shape) == 4 and shape[1] < shape[2] == shape[3]
    is_sound = len(shape) == 3 and shape[1] <= 2 < shape[2]
    return (
        f", with {shape[-1]} channels (last axis; if they come first, transpose it)"
        if is_square or is_sound
        else ""
    )


def _factor(samples: np.ndarray, scale: Scale) -> tuple[float, str]:
    """Returns the factor, and a text that says where it comes from."""
    if scale != "std":
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < abs(scale) < math.inf:
            raise UserError(f"scale must be a factor other than 0, or std, not {scale}")
        return float(scale), ""
    mean = sum(float(samples[part].sum(dtype=np.float64)) for part in _parts(samples)) / samples.size
    squares = sum(float(np.square(samples[part] - np.float64(mean)).sum()) for part in _parts(samples))
    deviation = math.sqrt(squares / samples.size)
    # Four digits are the same on every machine, and can be typed.
    return float(f"{1 / deviation:.4g}"), f" (1 / the standard deviation, {deviation:.4g})"
