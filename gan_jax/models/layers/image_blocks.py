"""The blocks of a discriminator in the order in which an image passes them, by the names of their parameters."""

import re
from collections.abc import Iterable


def blocks_in_order(
    names: Iterable[str], pattern: str, *, largest_first: bool = False, first: tuple[str, ...] = ()
) -> list[list[str]]:
    """Returns the names of each block, the block nearest to the image first.

    Args:
        names: of the parts of a discriminator's parameters, the keys of `params`.
        pattern: a regular expression whose group is the number of the block. Names that do not match it, such as
            the last layers, are in no block.
        largest_first: the block with the largest number is the nearest to the image, as where it is a size.
        first: further names, which are in the first block.
    """
    blocks: dict[int, list[str]] = {}
    names = sorted(names)
    for name in names:
        if found := re.fullmatch(pattern, name):
            blocks.setdefault(int(found[1]), []).append(name)
    ordered = [blocks[number] for number in sorted(blocks, reverse=largest_first)]
    if ordered:
        ordered[0] = [*(name for name in names if name in first), *ordered[0]]
    return ordered
