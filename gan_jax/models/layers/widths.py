"""How wide the blocks of the SNGAN family are: published layouts by image size, or widths of one's own."""

from collections.abc import Sequence
from typing import NamedTuple

from .base import check_counts


class Layout(NamedTuple):
    """Attributes:
    generator: channels of the first map and of each block's output.
    discriminator: channels of each block's output.
    halvings: the discriminator's first blocks that halve the map.
    """

    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    halvings: int


def generator_widths(
    table: dict[int, Layout], size: int, widths: Sequence[int] | None, model: str
) -> tuple[int, tuple[int, ...]]:
    """`(side of the first map, channels of it and of each block)`; each block doubles the side.

    Raises:
        ValueError: the table has no such size and no widths are given, or the doublings don't make the size.
    """
    chosen = _row(table, size, model).generator if widths is None else tuple(widths)
    check_counts(**{f"widths[{i}]": width for i, width in enumerate(chosen)})
    times = len(chosen) - 1
    if times < 1 or size % 2**times:
        raise ValueError(
            f"{model}: widths {chosen} are a first map and {max(times, 0)} doublings, which don't make {size} "
            "pixels: give one width more than the times a small map doubles into the image"
        )
    return size // 2**times, chosen


def discriminator_widths(
    table: dict[int, Layout], size: int, widths: Sequence[int] | None, halvings: int | None, model: str
) -> tuple[tuple[int, ...], int]:
    """`(channels of each block, first blocks that halve the map)`; unasked, all of other widths but the last.

    Raises:
        ValueError: the table has no such size and no widths are given, or the map can't be halved so often.
    """
    chosen = _row(table, size, model).discriminator if widths is None else tuple(widths)
    check_counts(widths=len(chosen), **{f"widths[{i}]": width for i, width in enumerate(chosen)})
    if halvings is None:
        listed = table.get(size)
        fits = listed is not None and (widths is None or len(chosen) == len(listed.discriminator))
        halvings = listed.halvings if fits and listed else max(1, len(chosen) - 1)
    if not 1 <= halvings <= len(chosen) or size % 2**halvings:
        raise ValueError(
            f"{model}: {halvings} of {len(chosen)} blocks can't halve {size} pixels: halvings is at least 1, at "
            "most the number of widths, and 2 ** halvings divides the size"
        )
    return chosen, halvings


def _row(table: dict[int, Layout], size: int, model: str) -> Layout:
    if size not in table:
        raise ValueError(
            f"{model} knows the widths for images of {', '.join(map(str, sorted(table)))} pixels, not {size}: "
            "give both players widths=(...), or resize the data, as with data.source.size=32"
        )
    return table[size]
