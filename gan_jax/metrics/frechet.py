"""Frechet distance between Gaussians fitted to two sets of features.

Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", 2017, eq. 6.
It is called FID only on the features of the original Inception network. Fewer samples bias it upwards:
distances are comparable at equal counts only.
"""

from typing import NamedTuple

import numpy as np

_ROWS = 4096


class Statistics(NamedTuple):
    """mean: float64 [D]. covariance: float64 [D, D], unbiased. count: samples they were computed from."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int

    @property
    def rank(self) -> int:
        """The most that the covariance's rank can be: the mean takes one sample."""
        return min(len(self.mean), self.count - 1)

    @property
    def singular(self) -> bool:
        """Whether there were too few samples for a covariance of full rank: a distance needs a note then."""
        return self.rank < len(self.mean)


def statistics(features: np.ndarray) -> Statistics:
    """Mean and unbiased covariance of features `[N, D]`, accumulated in float64, a block of rows at a time.

    Raises:
        ValueError: features are not `[N, D]` with N >= 2, or not all finite.
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
    """`|m_a - m_b|^2 + Tr(S_a + S_b) - 2 Tr (S_a S_b)^(1/2)`, in the features' units squared.

    With `S_a = L L^T` the trace of the root is the sum of the roots of the eigenvalues of the symmetric
    `L^T S_b L`, which are those of `S_a S_b`; no matrix root is taken. L is the eigenvectors of the covariance
    of lower rank, scaled: as many columns as that rank, so that few samples add no spurious zeros.

    Raises:
        ValueError: the features differ in size.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"features of {len(a.mean)} and {len(b.mean)} numbers can't be compared: use one extractor for both"
        )
    if a.rank > b.rank:
        a, b = b, a
    values, vectors = np.linalg.eigh(a.covariance)  # ascending
    kept = len(values) - a.rank
    factor = vectors[:, kept:] * np.sqrt(np.maximum(values[kept:], 0.0))  # [D, rank]
    overlap = factor.T @ b.covariance @ factor
    eigenvalues = np.linalg.eigvalsh((overlap + overlap.T) / 2)
    root = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    between = a.mean - b.mean
    distance = between @ between + np.trace(a.covariance) + np.trace(b.covariance) - 2 * root
    return max(float(distance), 0.0)  # rounding can leave it just below zero


def check_features(features: np.ndarray, name: str, *, least: int = 1) -> None:
    """Raises ValueError unless `features` is `[N, D]`, N at least `least`, and finite."""
    if features.ndim != 2 or features.shape[1] < 1:
        raise ValueError(f"{name} must be [N, D], got the shape {features.shape}")
    if len(features) < least:
        raise ValueError(f"{name} has {len(features)} samples, but at least {least} are needed: use more samples")
    if not np.isfinite(features).all():
        raise ValueError(f"{name} has values that are not finite: look at the samples they come from")
