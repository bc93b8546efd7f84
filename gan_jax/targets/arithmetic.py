"""Closed forms: the floating-point operations (FLOPs) of a matrix product and of a convolution.

A multiply and an add are two operations. A product with a zero that dilation or padding inserts is not counted.
"""

import functools
import math
from typing import NamedTuple

import numpy as np


class Window(NamedTuple):
    """How a convolution moves over one axis.

    Attributes:
        size: of the kernel.
        stride: the step from one output to the next.
        low, high: the padding before and after; negative: the input is cut.
        lhs_dilation: the distance of neighbours of the input; the positions between them hold zeros.
        rhs_dilation: the distance of neighbours of the kernel.
    """

    size: int
    stride: int = 1
    low: int = 0
    high: int = 0
    lhs_dilation: int = 1
    rhs_dilation: int = 1


def matmul_flops(result_size: int, contracted: int) -> float:
    """Returns the FLOPs of a matrix product: each of `result_size` numbers is a sum of `contracted` products."""
    return 2.0 * result_size * contracted


def convolution_flops(
    batch: int, inputs_per_group: int, outputs: int, sizes: tuple[tuple[int, int, Window], ...]
) -> float:
    """Returns the FLOPs of a convolution.

    Args:
        batch: samples that each kernel sees; with a `batch_group_count` it is the batch divided by that.
        inputs_per_group: input features of one group.
        outputs: output features, of all groups.
        sizes: for each axis of the image: the size of the input, of the output, and the window.
    """
    return 2.0 * batch * inputs_per_group * outputs * math.prod(_products(*one) for one in sizes)


@functools.lru_cache(4096)
def _products(size: int, out: int, window: Window) -> int:
    """Counts the pairs of an output and a kernel position that meet a number of the input, along one axis."""
    total = 0
    starts = np.arange(out, dtype=np.int64) * window.stride - window.low
    last = (size - 1) * window.lhs_dilation
    for k in range(window.size):
        at = starts + k * window.rhs_dilation
        total += int(((at >= 0) & (at <= last) & (at % window.lhs_dilation == 0)).sum())
    return total
