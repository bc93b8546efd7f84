"""The types of the tables, and entries that several of them share."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

Shapes = Mapping[str, tuple[int, ...]]
"""The arrays of one network in a file: shapes by names."""

KERNEL = ("kernel",)  # OIHW to HWIO
DENSE = ("dense",)  # [out, in] to [in, out]
TAPS = ("taps",)  # a vector over the inputs and the 3 x 3 taps of a kernel, in the order of the kernel


class From(NamedTuple):
    """Where a variable of ours comes from: an array of the file, and what is changed in it, in this order.

    `gan_jax.exchange.layout_changes` has a function of the name of each change.
    """

    name: str
    changes: tuple[str, ...] = ()


Table = dict[str, From]
"""The variables of a network by their paths, such as `params/block_1/conv_0/kernel`."""


class Network(NamedTuple):
    """A network that the shapes of a file describe.

    Attributes:
        keywords: of our `Generator` or `Discriminator`.
        table: where each of our variables comes from. Variables that the network does not have are left out.
        classes: the number of labels; None: unconditional.
        shape: of a sample, `(H, W, C)`, for a generator.
        latents: the number of latents, for a generator.
        opposite: keywords of a new discriminator that fits, for a generator.
    """

    keywords: dict[str, object]
    table: Table
    classes: int | None = None
    shape: tuple[int, int, int] = (0, 0, 0)
    latents: int = 0
    opposite: dict[str, object] | None = None


class Layout(NamedTuple):
    """The layout of one code base.

    Attributes:
        source: whose code it is.
        marks: names of arrays that only a network of this layout has together.
        read: returns the network of these shapes. It raises ValueError, with a phrase about the file, where our
            network can't compute the same.
        unused: regular expressions of names that hold nothing which our network needs.
        beside: names of arrays that lie outside of the network, at the top of the file.
    """

    source: str
    marks: tuple[str, ...]
    read: Callable[[Shapes], Network]
    unused: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


class Missing(ValueError):
    """An array that the layout always has is not in the file."""


class Reading(dict):
    """The shapes of a file, which say what is missing."""

    def __missing__(self, name: str) -> tuple[int, ...]:
        raise Missing(f"has no array {name}")


def numbers(shapes: Shapes, pattern: str) -> list[int]:
    """Returns the numbers that the group of a pattern matches in the names, without gaps from the first on.

    Raises:
        ValueError: there is none, or one is left out.
    """
    found = sorted({int(match[1]) for name in shapes if (match := re.fullmatch(pattern, name))})
    if not found or found != list(range(found[0], found[0] + len(found))):
        raise Missing(f"has no whole list of arrays named like {pattern.replace(chr(92), '')}")
    return found


def placed(table: Table, ours: str, theirs: str) -> Table:
    """Returns the table of a part that lies at the path `ours`, and at the prefix `theirs` in the file."""
    return {f"params/{ours}/{path}": From(theirs + name, changes) for path, (name, changes) in table.items()}


def channels(widths: Iterable[int], sides: Iterable[int]) -> tuple[int, int]:
    """Returns `(base, most)` of StyleGAN2's rule: a map of that side has min(base // side, most) channels.

    Raises:
        ValueError: the widths do not follow it.
    """
    pairs = list(zip(widths, sides, strict=True))
    most = max(width for width, _ in pairs)
    base = max((width * side for width, side in pairs if width < most), default=0)
    base = base or most * max(side for _, side in pairs)
    if any(min(base // side, most) != width for width, side in pairs):
        raise ValueError(
            f"has maps of {', '.join(str(width) for width, _ in pairs)} channels, which follow no rule"
        )
    return base, most
