"""The static parameters of a convolution of any rank."""

from collections.abc import Sequence
from typing import NamedTuple

RANKS = (1, 2, 3)


class Geometry(NamedTuple):
    """The static parameters of a convolution. Each tuple has one entry for every spatial axis.

    Attributes:
        padding: (before, after) of each axis.
        size: of the input x, without samples and channels.
        groups: each group of output channels reads one group of input channels.
    """

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    groups: int = 1

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.size)

    @property
    def output(self) -> tuple[int, ...]:
        """The size of y, without samples and channels."""
        spans = zip(self.size, self.padding, self.kernel, self.stride)
        return tuple((n + sum(p) - k) // s + 1 for n, p, k, s in spans)


def for_each_axis(value: int | Sequence[int], rank: int, name: str) -> tuple[int, ...]:
    """Returns one number for each axis, of one for all or of one for each.

    Raises:
        ValueError: there is not one number for each axis.
    """
    if not isinstance(value, Sequence):
        return (value,) * rank
    if len(value) != rank:
        raise ValueError(f"{name} must be one number, or one for each of {rank} axes, got {tuple(value)}")
    return tuple(value)
