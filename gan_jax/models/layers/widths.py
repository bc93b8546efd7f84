"""The widths (channels) of the blocks of the SNGAN family: published layouts by image size, or given ones.

The smaller side of an image, or of H and W in video and volumes, chooses the layout. A side that is not in the
table takes the layout of a smaller one, on a first map of up to 7 pixels, or 9: 96 x 128 pixels have the widths of
64, on a first map of 6 x 8. Audio has 64 channels at its full length, twice as many at each half of it, up to
1024, and a first map of 4 to 7, or 9.
"""

from collections.abc import Sequence
from typing import NamedTuple

from .base import check_counts
from .sizes import Size, describe, doublings, first_map_size, resize


class Layout(NamedTuple):
    """The published widths for one image size.

    Attributes:
        generator: the channels of the first map and of each block's output.
        discriminator: the channels of each block's output.
        halvings: the number of blocks, from the discriminator's first, that halve the map.
    """

    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    halvings: int


def generator_widths(
    table: dict[int, Layout], size: Size, widths: Sequence[int] | None, model: str
) -> tuple[Size, tuple[int, ...]]:
    """Returns `(size of the first map, channels of that map and of each block)`; a block doubles as in `sizes`.

    Raises:
        ValueError: no widths are given and the table has no layout for this size, or doubling does not give it.
    """
    chosen = _layout(table, size, model).generator if widths is None else tuple(widths)
    check_counts(**{f"widths[{i}]": width for i, width in enumerate(chosen)})
    times = len(chosen) - 1
    if times < 1 or not _divides(2**times, size):
        raise ValueError(
            f"{model}: widths {chosen} mean a first map and {max(times, 0)} doublings, which don't make "
            f"{describe(size)}: give one width for the first map, and one for each doubling up to the sample"
        )
    return first_map_size(size, times), chosen


def discriminator_widths(
    table: dict[int, Layout], size: Size, widths: Sequence[int] | None, halvings: int | None, model: str
) -> tuple[tuple[int, ...], int]:
    """Returns `(channels of each block, number of first blocks that halve the map)`.

    Without `halvings`, the number is the layout's if the layout has as many blocks, otherwise all blocks but one.

    Raises:
        ValueError: no widths are given and the table has no layout for this size, or the map can't be halved that
            often.
    """
    layout = _find(table, size) if widths is not None else _layout(table, size, model)
    chosen = layout.discriminator if widths is None and layout else tuple(widths or ())
    check_counts(widths=len(chosen), **{f"widths[{i}]": width for i, width in enumerate(chosen)})
    if halvings is None:
        fits = layout is not None and len(chosen) == len(layout.discriminator)
        halvings = layout.halvings if fits and layout else max(1, len(chosen) - 1)
    if not 1 <= halvings <= len(chosen) or not _divides(2**halvings, size):
        raise ValueError(
            f"{model}: {halvings} of {len(chosen)} blocks can't halve {describe(size)}: halvings must be "
            "at least 1, at most the number of widths, and 2 ** halvings must divide each side"
        )
    return chosen, halvings


def _divides(number: int, size: Size) -> bool:
    """Returns whether the number divides H and W, or T."""
    return all(side % number == 0 for side in size[-2:])


def _find(table: dict[int, Layout], size: Size) -> Layout | None:
    """Returns the layout of the smaller side, or of the largest side below it whose first map then fits."""
    smaller = min(size[-2:])
    for side in sorted((side for side in table if side <= smaller), reverse=True):
        times = len(table[side].generator) - 1
        first_map_fits = side == smaller or smaller >> times in (*range(8), 9)
        if first_map_fits and _divides(2**times, size) and _divides(2 ** table[side].halvings, size):
            return table[side]
    return None


def _layout(table: dict[int, Layout], size: Size, model: str) -> Layout:
    if len(size) == 1:
        return _of_audio(doublings(size, model=model)[1])
    layout = _find(table, size)
    if layout is None:
        advice = resize(size, lambda other: _find(table, other) is not None, max(table))
        raise ValueError(
            f"{model} has no widths for {describe(size)}: give both networks widths=(...), or "
            f"{advice}. It has widths for {', '.join(map(str, sorted(table)))} pixels on the "
            "smaller side, and for some sizes between"
        )
    return layout


def _of_audio(times: int) -> Layout:
    widths = tuple(min(1024, 64 * 2**i) for i in range(times + 1))
    return Layout(widths[::-1], widths, times)
