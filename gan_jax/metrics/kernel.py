"""Kernel distance: the unbiased estimate of the squared maximum mean discrepancy (MMD) of two sets of features.

Binkowski et al., "Demystifying MMD GANs", 2018. The name KID belongs to the features of the original Inception
network alone. An unbiased estimate of a small distance can be negative.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .frechet import check_features

_ROWS = 1024


class KernelDistance(NamedTuple):
    """Estimates on random subsets.

    Attributes:
        mean: the mean of the subsets' estimates. This is the distance.
        subset_std: their standard deviation, with the divisor `subsets`, not `subsets - 1`. It is the spread of
            *one* estimate on `subset_size` samples of each set. torch-fidelity reports it as the distance's std.
            NaN if a subset is all samples of both sets, because then all subsets are the same one. If it is more
            than half of a set, subsets share most samples, and their spread is too small.
        subset_error: `subset_std / sqrt(subsets)`, the error that more subsets of the same samples would reduce.
            It says nothing about new samples: see `kernel_distance_full`.
        subsets, subset_size: the arguments.
    """

    mean: float
    subset_std: float
    subset_error: float
    subsets: int
    subset_size: int


class FullKernelDistance(NamedTuple):
    """An estimate on all samples.

    Attributes:
        value: the distance.
        standard_error: its standard deviation over new samples of both sets, to first order.
    """

    value: float
    standard_error: float


class Polynomial(NamedTuple):
    """The kernel `k(u, v) = (gamma u.v + coef)^degree`."""

    degree: int
    gamma: float
    coef: float

    def __call__(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        base = self.gamma * (u @ v.T) + self.coef
        power = base.copy()
        for _ in range(self.degree - 1):  # a hundred times as fast as NumPy's power
            power *= base
        return power


def kernel_distance(
    x: np.ndarray,
    y: np.ndarray,
    *,
    degree: int = 3,
    gamma: float | None = None,
    coef: float = 1.0,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> KernelDistance:
    """Estimates the squared MMD of x `[N, D]` and y `[M, D]` as a mean over random subsets, in float64.

    A subset has n samples of each set, drawn without replacement. With `k(u, v) = (gamma u.v + coef)^degree`, its
    estimate is

        (sum_{i != j} k(x_i, x_j) + sum_{i != j} k(y_i, y_j)) / (n (n - 1)) - 2 sum_ij k(x_i, y_j) / n^2

    The defaults and the random subsets are those of torch-fidelity.

    Args:
        degree, gamma, coef: of the kernel. `gamma=None` is 1 / D.
        subsets, subset_size: the number of subsets, and n.
        seed: of the subsets.

    Raises:
        ValueError: the features have different sizes, are not finite, or are fewer than `subset_size`.
    """
    kernel = _kernel(x, y, degree, gamma, coef)
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"subsets must be at least 1 and subset_size at least 2, got {subsets} and {subset_size}")
    if subset_size > min(len(x), len(y)):
        raise ValueError(
            f"subsets of {subset_size} can't be drawn from {len(x)} and {len(y)} samples: give a smaller "
            "subset_size, or use more samples"
        )
    random = np.random.RandomState(seed)  # the legacy generator gives the same subsets as torch-fidelity
    estimates = np.empty(subsets)
    for i in range(subsets):
        u = x[random.choice(len(x), subset_size, replace=False)].astype(np.float64)
        v = y[random.choice(len(y), subset_size, replace=False)].astype(np.float64)
        estimates[i] = _off_diagonal_mean(kernel(u, u)) + _off_diagonal_mean(kernel(v, v))
        estimates[i] -= 2 * kernel(u, v).mean()
    std = math.nan if subset_size == len(x) == len(y) else float(estimates.std())
    return KernelDistance(float(estimates.mean()), std, std / math.sqrt(subsets), subsets, subset_size)


def kernel_distance_full(
    x: np.ndarray, y: np.ndarray, *, degree: int = 3, gamma: float | None = None, coef: float = 1.0
) -> FullKernelDistance:
    """Estimates the squared MMD of x `[N, D]` and y `[M, D]` and its standard error, from all samples, in float64.

    Let `a_i` be the mean of k(x_i, x_j) over j != i, `b_i` the mean of k(x_i, y_j) over j, and c and d the same
    for y. The estimate is `mean(a - b) + mean(c - d)`. Its variance to first order (Hoeffding's projection) is
    `4 var(a - b) / N + 4 var(c - d) / M`. If the two distributions are equal, the first order vanishes, and the
    standard error is only as large as the noise. The kernel values (N N + N M + M M) are computed in blocks.

    Raises:
        ValueError: the features have different sizes, are not finite, or are fewer than 2.
    """
    kernel = _kernel(x, y, degree, gamma, coef)
    witness_x, witness_y = _witness(x, y, kernel), _witness(y, x, kernel)
    variance = 4 * witness_x.var(ddof=1) / len(x) + 4 * witness_y.var(ddof=1) / len(y)
    return FullKernelDistance(float(witness_x.mean() + witness_y.mean()), math.sqrt(variance))


def _kernel(x: np.ndarray, y: np.ndarray, degree: int, gamma: float | None, coef: float) -> Polynomial:
    check_features(x, "x", least=2)
    check_features(y, "y", least=2)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"features of sizes {x.shape[1]} and {y.shape[1]} can't be compared: use one extractor for both"
        )
    return Polynomial(degree, 1 / x.shape[1] if gamma is None else gamma, coef)


def _off_diagonal_mean(square: np.ndarray) -> float:
    size = len(square)
    return float((square.sum() - np.trace(square)) / (size * (size - 1)))


def _blocks(features: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(features), _ROWS):
        yield features[start : start + _ROWS].astype(np.float64)


def _witness(x: np.ndarray, y: np.ndarray, kernel: Polynomial) -> np.ndarray:
    """Returns for each row of x `[N, D]` its mean kernel with the other rows of x, minus that with y, `[N]`."""
    rows = []
    for u in _blocks(x):
        diagonal = (kernel.gamma * (u * u).sum(axis=1) + kernel.coef) ** kernel.degree
        within = sum(kernel(u, v).sum(axis=1) for v in _blocks(x)) - diagonal
        across = sum(kernel(u, v).sum(axis=1) for v in _blocks(y))
        rows.append(within / (len(x) - 1) - across / len(y))
    return np.concatenate(rows)
