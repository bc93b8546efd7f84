"""Sums up what the devices send each other in a compiled program."""

from collections.abc import Iterable
from typing import NamedTuple

from .kernels import Kernel


class Collective(NamedTuple):
    """The collectives of one kind in a program.

    Attributes:
        count: how many one call of the program runs; of a conditional, those of its most expensive branch. 0:
            there are some, in another branch.
        bytes: what a device gives to the others or gets from them, all together.
        largest: the largest array among them, as text.
    """

    count: int
    bytes: int
    largest: str


def collectives(kernels: Iterable[Kernel]) -> dict[str, Collective]:
    """Returns the collectives by kind, such as "all-reduce"."""
    kinds: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        if kernel.kind == "collective":
            kinds.setdefault(kernel.call, []).append(kernel)
    return {kind: _sum(found) for kind, found in sorted(kinds.items())}


def _sum(found: list[Kernel]) -> Collective:
    largest = max((k.result for k in found if k.result), key=lambda array: array.bytes, default="")
    return Collective(sum(k.count for k in found), sum(k.count * k.payload for k in found), str(largest))
