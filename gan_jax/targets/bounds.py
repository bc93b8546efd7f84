"""Lower bounds of the time of a program, from a chip's published rates. None is a measurement or a prediction."""

from collections.abc import Iterable
from typing import NamedTuple

from .chips import Chip
from .kernels import Kernel


class Bounds(NamedTuple):
    """Seconds that one call of a program takes at least on a device. Collectives are left out.

    Attributes:
        arithmetic: of the matrix products and convolutions, at the peak rate of their types.
        traffic: of the bytes that all kernels read and write, at the memory's full bandwidth.
        kernels: the sum over the kernels of the larger of both: one kernel runs after the other.
    """

    arithmetic: float
    traffic: float
    kernels: float


def bounds(kernels: Iterable[Kernel], chip: Chip) -> Bounds:
    """Returns the bounds of a program on a chip."""
    arithmetic = traffic = both = 0.0
    for kernel in kernels:
        if kernel.kind == "collective":
            continue
        products = sum(p.flops / chip.rate(p.dtype, p.precise) for p in kernel.products)
        moves = kernel.bytes / chip.bandwidth
        arithmetic += kernel.count * products
        traffic += kernel.count * moves
        both += kernel.count * max(products, moves)
    return Bounds(arithmetic, traffic, both)
