"""The sizes of samples that a network can make: the axes of a small first map are doubled, stage by stage.

Every stage doubles all axes of audio `[T, C]` and of images `[H, W, C]`, which need not be square. In video and
volumes `[D, H, W, C]` it doubles H and W. D, the time axis of a video, can have any length and needs fewer
doublings: halve it while it is even and longer than 7, at most once for each stage. The result is its length in
the first map, and only the last stages double it. So the maps of 16 frames of 64 x 64 pixels are 4 x 4 x 4,
4 x 8 x 8, 4 x 16 x 16, 8 x 32 x 32 and 16 x 64 x 64.
"""

import itertools
import math
from collections.abc import Callable
from typing import Literal

Size = tuple[int, ...]  # of a map: (T,), (H, W) or (D, H, W)
Factor = Literal[2] | Size  # of a stage: 2 for all axes, or 1 or 2 for each axis

LONGEST = 2**17  # samples of audio
_FIRST = (7, 6, 5, 4, 3, 2, 9)  # smaller sides of a first map, the preferred one first; 9 is for 16 : 9
_KINDS = {1: "audio", 2: "images", 3: "video or volumes"}


def sample_size(shape: tuple[int, ...], model: str = "dcgan") -> Size:
    """Returns `(T,)`, `(H, W)` or `(D, H, W)` of a sample of this shape; raises ValueError for another rank."""
    if len(shape) - 1 not in _KINDS:
        raise ValueError(
            f"{model} needs images [H, W, C], audio [T, C], or video and volumes [D, H, W, C], not samples of "
            f"shape {tuple(shape)}: use mlp"
        )
    return tuple(shape[:-1])


def image_size(shape: tuple[int, ...], model: str) -> tuple[int, int]:
    """Returns the `(H, W)` of an image of this shape; raises ValueError if it is not an image `[H, W, C]`."""
    if len(shape) != 3:
        others = "dcgan, sngan, r3gan or mlp" if len(shape) - 1 in _KINDS else "mlp"
        raise ValueError(f"{model} needs images [H, W, C], not samples of shape {tuple(shape)}: use {others}")
    return shape[0], shape[1]


def doublings(
    size: Size, base: int | None = None, model: str = "dcgan", least: int = 2, most: int = 128
) -> tuple[Size, int]:
    """Returns `(first, times)`: the size of the first map, and the number of stages that double it.

    In audio and images `size == first * 2 ** times` for every axis; the module explains the axis D. The smaller of
    H and W (or T) in the first map is `base`. Without `base` it is the largest number from `least` to 7 that gives
    that side by doubling, or else 9. So 128 x 128 pixels come from 4 x 4, 192 x 128 from 6 x 4, 36 x 64 from
    9 x 16, and 16384 samples of audio from 4.

    Raises:
        ValueError: there is no such map; the smaller of H and W is not in 8..`most`, or T is not in 8..`LONGEST`.
    """
    sides, most = size[-2:], LONGEST if len(size) == 1 else most

    def times(sides: Size) -> int | None:
        smaller = min(sides)
        for candidate in [base] if base else (n for n in _FIRST if n >= least):
            times = round(math.log2(smaller / candidate)) if smaller > 0 else 0
            fits = candidate * 2**times == smaller and all(side % 2**times == 0 for side in sides)
            if times >= 1 and fits and least <= candidate and 8 <= smaller <= most:
                return times
        return None

    found = times(sides)
    if found is not None:
        return first_map_size(size, found), found
    first = f"{base} (base={base})" if base else f"{least} to 7, or 9,"
    if len(size) == 1:
        rule = f"The length must be {first} times a power of two, from 8 to {most} samples"
    else:
        rule = (
            "Both sides must be multiples of one power of two, and the smaller side must be "
            f"{first} times it and have 8 to {most} pixels"
        )
    advice = resize(size, lambda other: times(other) is not None, most)
    raise ValueError(f"{model} can't make {describe(size)}: {advice}. {rule}")


def first_map_size(size: Size, times: int) -> Size:
    """Returns the size of the first map that becomes `size` in `times` stages, see the module."""
    if len(size) < 3:
        return tuple(side >> times for side in size)
    depth, left = size[0], times
    while left and depth > 7 and depth % 2 == 0:
        depth, left = depth // 2, left - 1
    return (depth, *(side >> times for side in size[1:]))


def stage_factors(size: Size, times: int) -> list[Factor]:
    """Returns the factor of each stage from the first map to the sample: 2 where all axes are doubled."""
    axes = [(whole // part).bit_length() - 1 for whole, part in zip(size, first_map_size(size, times))]
    factors = (tuple(2 if stage >= times - n else 1 for n in axes) for stage in range(times))
    return [2 if min(factor) == 2 else factor for factor in factors]


def stage_sizes(size: Size, times: int) -> list[Size]:
    """Returns the sizes of all maps from the first one to the sample."""
    sizes = [first_map_size(size, times)]
    for factor in stage_factors(size, times):
        factors = (2,) * len(size) if factor == 2 else factor
        sizes.append(tuple(side * one for side, one in zip(sizes[-1], factors)))
    return sizes


def resize(size: Size, fits: Callable[[Size], bool], most: int = 1024) -> str:
    """Returns "resize the data, as with data.source.size=...", or for audio "cut the data, ... window=..."."""
    if len(size) > 1:
        return f"resize the data{near_sizes(size[-2:], fits, most)}"
    near = " or ".join(str(length) for (length,) in near_lengths(size, fits, most))
    return "cut the data" + (f", as with data.source.window={near}" if near else "")


def near_sizes(size: Size, fits: Callable[[Size], bool], most: int = 1024) -> str:
    """Returns ", as with data.source.size=..." with the `(H, W)` of `near_lengths`."""
    square = len(set(size)) == 1
    options = [str(h) if square else f"{h}x{w}" for h, w in near_lengths(size, fits, most)]
    return f", as with data.source.size={' or '.join(options)}" if options else ""


def near_lengths(size: Size, fits: Callable[[Size], bool], most: int) -> list[Size]:
    """Returns the size that is nearest to `size`, `(T,)` or `(H, W)`, among those that `fits` accepts.

    It gives a smaller and a larger one where it finds both. It finds multiples of a power of two on either side of
    `size`, which is first brought into the range 8..`most` of the smaller side.
    """
    smaller = max(1, min(size))
    scale = min(max(1.0, 8 / smaller), most / smaller)
    target = [max(8, side * scale) for side in size]
    square = len(size) == 2 and size[0] == size[1]

    def around(side: float, unit: int) -> list[int]:
        return [math.floor(side / unit) * unit, math.ceil(side / unit) * unit]

    found: set[Size] = set()
    for unit in (2**k for k in range(1, max(11, int(max(target)).bit_length()))):
        sides = [around(side, unit) for side in target]
        found |= {(side, side) for side in sides[0]} if square else set(itertools.product(*sides))
    found = {other for other in found if min(other) > 0 and fits(other)}

    def distance(other: Size) -> float:
        return sum(abs(math.log(side / wanted)) for side, wanted in zip(other, target))

    below = [other for other in found if math.prod(other) <= math.prod(size)]
    above = [other for other in found if math.prod(other) > math.prod(size)]
    return [min(sizes, key=lambda other: (distance(other), other)) for sizes in (below, above) if sizes]


def describe(size: Size) -> str:
    """Returns "images of 48 x 32 pixels", "audio of 16384 samples" or "video and volumes of 16 x 64 x 64"."""
    if len(size) == 1:
        return f"audio of {size[0]} samples"
    if len(size) == 2:
        return f"images of {in_words(size)} pixels"
    return f"video or volumes of {' x '.join(map(str, size))}"


def in_words(size: Size) -> str:
    """Returns "32" for a square of that side, otherwise "48 x 32"."""
    return str(size[0]) if len(set(size)) == 1 else " x ".join(map(str, size))
