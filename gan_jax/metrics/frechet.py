"""Frechet distance between Gaussians fitted to two sets of features.

Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", 2017, eq. 6.
The name FID belongs to the features of the original Inception network alone. The fewer samples, the larger the
distance: compare distances only if they were measured with equal numbers of samples.
"""

from typing import NamedTuple

import numpy as np

_ROWS = 4096


class Statistics(NamedTuple):
    """Mean and covariance of features.

    Attributes:
        mean: float64 `[D]`.
        covariance: float64 `[D, D]`, unbiased.
        count: the number of samples.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int

    @property
    def rank(self) -> int:
        """The largest rank that the covariance can have. The mean costs one sample."""
        return min(len(self.mean), self.count - 1)

    @property
    def singular(self) -> bool:
        """Whether the samples are too few for a covariance of full rank. A distance needs a note then."""
        return self.rank < len(self.mean)


def statistics(features: np.ndarray) -> Statistics:
    """Computes mean and unbiased covariance of features `[N, D]` in float64, a block of rows at a time.

    Raises:
        ValueError: the features are not `[N, D]` with N >= 2, or not all finite.
    """
    check_features(features, "features", least=2)
    count, size = features.shape
    mean = features.mean(axis=0, dtype=np.float64)
    products = np.zeros((size, size))
    for start in range(0, count, _ROWS):
        centred = features[start : start + _ROWS].astype(np.float64) - mean
        products += centred.T @ centred
    return Statistics(mean, products / (count - 1), count)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Computes `|m_a - m_b|^2 + Tr(S_a + S_b) - 2 Tr (S_a S_b)^(1/2)`, in the features' units squared.

    No matrix root is computed. With `S_a = L L^T`, the products `S_a S_b` and `L^T S_b L` have the same nonzero
    eigenvalues, and the second one is symmetric; the trace of the root is the sum of their square roots. L holds
    the scaled eigenvectors of the covariance of lower rank r. It has r columns, so few samples add no eigenvalues
    that are zero but for rounding.

    Raises:
        ValueError: the features have different sizes.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"features of sizes {len(a.mean)} and {len(b.mean)} can't be compared: use one extractor for both"
        )
    if a.rank > b.rank:
        a, b = b, a
    values, vectors = np.linalg.eigh(a.covariance)  # ascending
    kept = len(values) - a.rank
    factor = vectors[:, kept:] * np.sqrt(np.maximum(values[kept:], 0.0))  # [D, rank]
    overlap = factor.T @ b.covariance @ factor
    eigenvalues = np.linalg.eigvalsh((overlap + overlap.T) / 2)
    root = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    difference = a.mean - b.mean
    distance = difference @ difference + np.trace(a.covariance) + np.trace(b.covariance) - 2 * root
    return max(float(distance), 0.0)  # rounding can make it slightly negative


def check_features(features: np.ndarray, name: str, *, least: int = 1) -> None:
    """Raises ValueError unless `features` is `[N, D]` with N at least `least`, and all values are finite."""
    if features.ndim != 2 or features.shape[1] < 1:
        raise ValueError(f"{name} must have the shape [N, D], got {features.shape}")
    if len(features) < least:
        raise ValueError(f"{name} has {len(features)} samples, but needs at least {least}: use more samples")
    if not np.isfinite(features).all():
        raise ValueError(f"{name} has values that are not finite: check the samples that they come from")
