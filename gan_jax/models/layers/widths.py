"""The widths (channels) of the blocks of the SNGAN family: published layouts by image size, or given ones."""

from collections.abc import Sequence
from typing import NamedTuple

from .base import check_counts


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
    table: dict[int, Layout], size: int, widths: Sequence[int] | None, model: str
) -> tuple[int, tuple[int, ...]]:
    """Returns `(side of the first map, channels of that map and of each block)`; each block doubles the side.

    Raises:
        ValueError: no widths are given and the table has no such size, or doubling does not give the size.
    """
    chosen = _layout(table, size, model).generator if widths is None else tuple(widths)
    check_counts(**{f"widths[{i}]": width for i, width in enumerate(chosen)})
    times = len(chosen) - 1
    if times < 1 or size % 2**times:
        raise ValueError(
            f"{model}: widths {chosen} mean a first map and {max(times, 0)} doublings, which don't make {size} "
            "pixels: give one width for the first map, and one for each doubling up to the image"
        )
    return size // 2**times, chosen


def discriminator_widths(
    table: dict[int, Layout], size: int, widths: Sequence[int] | None, halvings: int | None, model: str
) -> tuple[tuple[int, ...], int]:
    """Returns `(channels of each block, number of first blocks that halve the map)`.

    Without `halvings`, the number is the table's if the table has as many blocks, otherwise all blocks but one.

    Raises:
        ValueError: no widths are given and the table has no such size, or the map can't be halved that often.
    """
    chosen = _layout(table, size, model).discriminator if widths is None else tuple(widths)
    check_counts(widths=len(chosen), **{f"widths[{i}]": width for i, width in enumerate(chosen)})
    if halvings is None:
        layout = table.get(size)
        fits = layout is not None and (widths is None or len(chosen) == len(layout.discriminator))
        halvings = layout.halvings if fits and layout else max(1, len(chosen) - 1)
    if not 1 <= halvings <= len(chosen) or size % 2**halvings:
        raise ValueError(
            f"{model}: {halvings} of {len(chosen)} blocks can't halve {size} pixels: halvings must be at least 1, "
            "at most the number of widths, and 2 ** halvings must divide the size"
        )
    return chosen, halvings


def _layout(table: dict[int, Layout], size: int, model: str) -> Layout:
    if size not in table:
        raise ValueError(
            f"{model} has widths for images of {', '.join(map(str, sorted(table)))} pixels, not {size}: "
            "give both networks widths=(...), or resize the data, as with data.source.size=32"
        )
    return table[size]
