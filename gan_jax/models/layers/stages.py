"""The resolutions of R3GAN's networks: sizes, channels, groups, and the type that each computes in."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from .base import check_counts
from .sizes import Factor, Size, doublings, stage_factors, stage_sizes

MOST = 1024  # the largest smaller side of an image, in pixels
_LEAST_WIDTH = {1: 96}  # of the default widths, by the number of axes: audio has many more stages than images

Sizes = tuple[int, ...]


class Preset(NamedTuple):
    """The sizes of a published network, see `Generator`; the recipes in `configs/` have its training settings."""

    widths: Sizes
    cardinality: Sizes
    full_precision_up_to: int


PRESETS = {
    "cifar10": Preset((768,) * 4, (96,) * 4, 4),
    "ffhq64": Preset((768,) * 4 + (384,), (96,) * 4 + (48,), 4),
    "ffhq256": Preset((768,) * 4 + (384, 192, 96), (96,) * 4 + (48, 24, 12), 16),
    "imagenet32": Preset((1536,) * 4, (96,) * 4, 4),
    "imagenet64": Preset((1536,) * 5, (96,) * 5, 4),
}


class Stage(NamedTuple):
    """One resolution.

    Attributes:
        side: the smaller of height and width in pixels, or the length of audio.
        size: the lengths of all axes.
        factor: of the upsampling from the stage below.
        width, groups: channels and groups of its blocks.
        dtype: the type that it computes in.
    """

    side: int
    size: Size
    factor: Factor
    width: int
    groups: int
    dtype: DTypeLike


def _groups(hidden: int) -> int:
    """Returns the largest number of groups that divides `hidden` and leaves each at least 16 channels."""
    return max(n for n in range(1, max(1, hidden // 16) + 1) if hidden % n == 0)


def make_stages(
    size: Size,
    base: int | None,
    preset: str | None,
    widths: Sizes | None,
    cardinality: int | Sizes | None,
    expansion: int,
    full_precision_up_to: int | None,
    dtype: DTypeLike,
) -> list[Stage]:
    """Returns the stages from the lowest resolution up to samples of `size`; `r3gan.Generator` explains the rest.

    Raises:
        ValueError: an argument is invalid, or does not fit the size.
    """
    _, times = doublings(size, base, "r3gan", most=MOST)
    factors = [2, *stage_factors(size, times)]  # the lowest resolution has no stage below
    sizes = stage_sizes(size, times)
    sides = [min(one[-2:]) for one in sizes]
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"r3gan has no preset {preset!r}: use one of {', '.join(PRESETS)}")
    published = PRESETS[preset] if preset is not None else None
    if isinstance(cardinality, int):
        cardinality = (cardinality,) * len(sides)
    if widths is None and published is not None:
        widths, cardinality = published.widths, cardinality or published.cardinality
    if widths is None:
        least = _LEAST_WIDTH.get(len(size), 12)
        widths = tuple(max(least, 768 // 2 ** max(0, i - 3)) for i in range(len(sides)))
    if cardinality is None:
        cardinality = tuple(_groups(width * expansion) for width in widths)
    _check(sides, widths, cardinality, expansion, "pixels" if len(size) > 1 else "samples")
    exact = full_precision_up_to
    if exact is None:
        exact = max(sides[0], sides[-1] // 16) if published is None else published.full_precision_up_to
    dtypes = [jnp.promote_types(dtype, jnp.float32) if side <= exact else dtype for side in sides]
    return [Stage(*one) for one in zip(sides, sizes, factors, widths, cardinality, dtypes)]


def _check(sides: list[int], widths: Sizes, cardinality: Sizes, expansion: int, unit: str) -> None:
    for name, values in (("widths", widths), ("cardinality", cardinality)):
        if len(values) != len(sides):
            raise ValueError(
                f"r3gan needs one number in {name} for each resolution ({', '.join(map(str, sides))} {unit}), "
                f"so {len(sides)} numbers, not {values}"
            )
        check_counts(**{name: min(values)})
    for width, groups in zip(widths, cardinality):
        if width * expansion % groups:
            raise ValueError(f"r3gan: cardinality {groups} does not divide {width * expansion} channels")
