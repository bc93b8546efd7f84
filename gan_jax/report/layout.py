"""The layout of a sample grid: where the images of each class are, so that the grid is near to square."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..data.classes import list_names

_EMPTY, _BLOCKS = 1.0, 0.15  # what a grid of empty places, and blocks, cost beside the log of width / height


class Layout(NamedTuple):
    """Blocks of images, one block for each class. Without classes, all images are one block.

    Attributes:
        columns, rows: the images side by side, and one below the other, in a block.
        across, down: the blocks side by side, and one below the other.
        groups: the number of blocks; image i is in block i mod `groups`.
    """

    columns: int
    rows: int
    across: int = 1
    down: int = 1
    groups: int = 1

    def place(self, index: int) -> tuple[int, int, int, int]:
        """Returns, for an image: the row and the column of its block, and its row and column among all images."""
        in_block, block = divmod(index, self.groups)
        down, across = divmod(block, self.across)
        row, column = divmod(in_block, self.columns)
        return down, across, down * self.rows + row, across * self.columns + column


def choose_layout(
    count: int, height: int, width: int, groups: int | None = None, columns: int | None = None
) -> Layout:
    """Returns the layout of `count` images of `height` x `width` that is nearest to a square with few gaps.

    Args:
        groups: image i is of class i mod `groups`. Images of a class stay together, unless none has two.
        columns: the images in a row, in place of a choice.
    """
    if columns is not None:
        columns = min(columns, count)
        return Layout(columns, math.ceil(count / columns))
    groups = groups if groups is not None and groups < count else 1
    each = math.ceil(count / groups)

    def cost(layout: Layout) -> tuple[float, int]:
        wide, high = layout.across * layout.columns, layout.down * layout.rows
        simple = layout.down == layout.columns == 1 or layout.across == layout.rows == 1 or groups == 1
        aspect = abs(math.log(wide * width / (high * height)))
        return aspect + _EMPTY * (1 - count / (wide * high)) + (0 if simple else _BLOCKS), -wide

    layouts = (
        Layout(columns, math.ceil(each / columns), across, math.ceil(groups / across), groups)
        for columns in range(1, each + 1)
        for across in range(1, groups + 1)
    )
    return min(layouts, key=lambda layout: (round(cost(layout)[0], 9), cost(layout)[1]))


def grid_legend(names: Sequence[str], layout: Layout | None) -> str:
    """Says which class is where in a sample grid whose samples have the classes `names` in turn.

    `layout` is that of the grid; None where the samples are no images.
    """
    listed = list_names(names, most=32)
    if len(names) == 1:
        return f"all are of the class {listed}"
    if layout is None or layout.groups == 1:
        return f"classes, in turn from sample to sample: {listed}"
    if layout.columns == layout.down == 1:
        return f"each column is one class, from the left: {listed}"
    if layout.across == 1:
        rows = "row is" if layout.rows == 1 else f"{layout.rows} rows are"
        return f"each {rows} one class, from the top: {listed}"
    block = f"block of {layout.columns} x {layout.rows} samples"
    return f"each {block} is one class, from the top left, row by row: {listed}"
