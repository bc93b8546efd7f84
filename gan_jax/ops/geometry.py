"""The static parameters of a convolution."""

from typing import NamedTuple


class Geometry(NamedTuple):
    """The static parameters of a convolution.

    Attributes:
        padding: `((top, bottom), (left, right))`.
        size: height and width of the input x.
        kernel: height and width of the kernel.
        groups: each group of output channels reads one group of input channels.
    """

    stride: int
    padding: tuple[tuple[int, int], tuple[int, int]]
    size: tuple[int, int]
    kernel: tuple[int, int]
    groups: int = 1

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of y."""
        spans = zip(self.size, self.padding, self.kernel)
        height, width = ((n + sum(p) - k) // self.stride + 1 for n, p, k in spans)
        return height, width
