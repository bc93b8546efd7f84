"""Kernel distance: the squared maximum mean discrepancy of two sets of features, without bias.

Binkowski et al., "Demystifying MMD GANs", 2018. It is called KID only on the features of the original Inception
network. An unbiased estimate of a small distance can be negative.
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
        mean: of the subsets' estimates; this is the distance.
        subset_std: their standard deviation (over `subsets`, not `subsets - 1`). It is the spread of *one*
            estimate on `subset_size` samples of each set, and what torch-fidelity reports as the distance's std.
        subset_error: `subset_std / sqrt(subsets)`: what more subsets of the same samples would take away. It says
            nothing of new samples: see `kernel_distance_full`.
        subsets, subset_size: as given.
    """

    mean: float
    subset_std: float
    subset_error: float
    subsets: int
    subset_size: int


class FullKernelDistance(NamedTuple):
    """An estimate on all samples. standard_error: its spread over new samples of both sets, to first order."""

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
        for _ in range(self.degree - 1):  # products: a hundred times as fast as NumPy's power
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
    """The mean over random subsets of the unbiased squared discrepancy of x `[N, D]` and y `[M, D]`, in float64.

    For a subset of n of each, drawn without replacement, with `k(u, v) = (gamma u.v + coef)^degree`:

        (sum_{i != j} k(x_i, x_j) + sum_{i != j} k(y_i, y_j)) / (n (n - 1)) - 2 sum_ij k(x_i, y_j) / n^2

    Defaults, and the generator that draws x's subset and then y's, are torch-fidelity's.

    Args:
        gamma: None: 1 / D.
        seed: of the subsets.

    Raises:
        ValueError: the features differ in size, are not finite, or are fewer than `subset_size`.
    """
    kernel = _kernel(x, y, degree, gamma, coef)
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"subsets must be at least 1 and subset_size 2, got {subsets} and {subset_size}")
    if subset_size > min(len(x), len(y)):
        raise ValueError(
            f"subsets of {subset_size} can't be drawn from {len(x)} and {len(y)} samples: give a smaller "
            "subset_size, or more samples"
        )
    draws = np.random.RandomState(seed)  # the legacy generator: the same subsets as torch-fidelity
    estimates = np.empty(subsets)
    for i in range(subsets):
        u = x[draws.choice(len(x), subset_size, replace=False)].astype(np.float64)
        v = y[draws.choice(len(y), subset_size, replace=False)].astype(np.float64)
        estimates[i] = _off_diagonal_mean(kernel(u, u)) + _off_diagonal_mean(kernel(v, v))
        estimates[i] -= 2 * kernel(u, v).mean()
    std = float(estimates.std())
    return KernelDistance(float(estimates.mean()), std, std / math.sqrt(subsets), subsets, subset_size)


def kernel_distance_full(
    x: np.ndarray, y: np.ndarray, *, degree: int = 3, gamma: float | None = None, coef: float = 1.0
) -> FullKernelDistance:
    """The unbiased squared discrepancy of all of x `[N, D]` and y `[M, D]`, and its standard error, in float64.

    With `a_i` the mean of k(x_i, x_j) over j != i, `b_i` that of k(x_i, y_j) over j, and c, d alike for y, it is
    `mean(a - b) + mean(c - d)`, and its variance to first order (Hoeffding's projection)
    `4 var(a - b) / N + 4 var(c - d) / M`. Where the two distributions are equal the first order vanishes: the
    error is then of the size of the noise, no more. N M kernel values are computed, a block at a time.

    Raises:
        ValueError: the features differ in size, are not finite, or are fewer than 2.
    """
    kernel = _kernel(x, y, degree, gamma, coef)
    of_x, of_y = _witness(x, y, kernel), _witness(y, x, kernel)
    variance = 4 * of_x.var(ddof=1) / len(x) + 4 * of_y.var(ddof=1) / len(y)
    return FullKernelDistance(float(of_x.mean() + of_y.mean()), math.sqrt(variance))


def _kernel(x: np.ndarray, y: np.ndarray, degree: int, gamma: float | None, coef: float) -> Polynomial:
    check_features(x, "x", least=2)
    check_features(y, "y", least=2)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"features of {x.shape[1]} and {y.shape[1]} numbers can't be compared: use one extractor for both"
        )
    return Polynomial(degree, 1 / x.shape[1] if gamma is None else gamma, coef)


def _off_diagonal_mean(square: np.ndarray) -> float:
    size = len(square)
    return float((square.sum() - np.trace(square)) / (size * (size - 1)))


def _blocks(features: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(features), _ROWS):
        yield features[start : start + _ROWS].astype(np.float64)


def _witness(own: np.ndarray, other: np.ndarray, kernel: Polynomial) -> np.ndarray:
    """For each row of `own` `[N]`: its mean kernel with the rest of `own`, less that with `other`."""
    rows = []
    for u in _blocks(own):
        itself = (kernel.gamma * (u * u).sum(axis=1) + kernel.coef) ** kernel.degree
        near = sum(kernel(u, v).sum(axis=1) for v in _blocks(own)) - itself
        far = sum(kernel(u, v).sum(axis=1) for v in _blocks(other))
        rows.append(near / (len(own) - 1) - far / len(other))
    return np.concatenate(rows)
