"""Precision, recall, density and coverage, from balls around features; and nearest neighbours.

Each feature is the center of a ball. The radius is the distance to the k-th nearest *other* feature of its set.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .frechet import check_features

_ROWS, _COLUMNS = 1024, 4096  # a tile of squared distances has 32 MiB


class PRDC(NamedTuple):
    """Precision, recall and coverage are shares in [0, 1].

    Density has no upper bound; its mean is 1 if the generated features have the distribution of the real ones.
    """

    precision: float
    recall: float
    density: float
    coverage: float


class Nearest(NamedTuple):
    """The k nearest features of each of Q queries, the nearest first.

    Attributes:
        indices: int64 `[Q, k]`.
        distances: float64 `[Q, k]`, Euclidean.
    """

    indices: np.ndarray
    distances: np.ndarray


def prdc(real: np.ndarray, generated: np.ndarray, *, k: int = 5, closed: bool = False) -> PRDC:
    """Computes precision, recall, density and coverage of generated features `[M, D]` and real ones `[N, D]`.

        precision  the share of generated features that lie in a ball of a real one
        recall     the share of real features that lie in a ball of a generated one
        density    the mean number of real balls around a generated feature, divided by k
        coverage   the share of real balls that contain a generated feature

    Kynkaanniemi et al., "Improved precision and recall metric", 2019; Naeem et al., "Reliable fidelity and
    diversity metrics for generative models", 2020. Squared distances are computed in float64, a tile at a time.

    Args:
        k: the neighbour whose distance is the radius.
        closed: whether a point on a ball's surface lies in it. In torch-fidelity it does, in the package `prdc`
            it doesn't.

    Raises:
        ValueError: the features have different sizes, are not finite, or a set has k or fewer.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    check_features(real, "real", least=k + 1)
    check_features(generated, "generated", least=k + 1)
    real_radii, generated_radii = _radii(real, k), _radii(generated, k)
    inside = np.less_equal if closed else np.less
    balls = np.zeros(len(generated), np.int64)  # the number of real balls around each generated feature
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows, columns, squared in _tiles(real, generated):
        in_real = inside(squared, real_radii[rows, None])
        balls[columns] += in_real.sum(axis=0)
        covered[rows] |= in_real.any(axis=1)
        recalled[rows] |= inside(squared, generated_radii[None, columns]).any(axis=1)
    return PRDC(
        precision=float((balls > 0).mean()),
        recall=float(recalled.mean()),
        density=float(balls.mean() / k),
        coverage=float(covered.mean()),
    )


def nearest(queries: np.ndarray, bank: np.ndarray, k: int = 1) -> Nearest:
    """Finds the k features of `bank` `[N, D]` nearest to each query `[Q, D]`; of equal distances the first.

    Raises:
        ValueError: the features have different sizes, are not finite, or the bank has fewer than k.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    check_features(queries, "queries")
    check_features(bank, "bank", least=k)
    squared = np.full((len(queries), k), np.inf)
    indices = np.full((len(queries), k), -1, np.int64)
    for rows, columns, tile in _tiles(queries, bank):
        tile_indices = np.broadcast_to(np.arange(len(bank))[columns], tile.shape)
        candidates = np.concatenate([squared[rows], tile], axis=1)
        candidate_indices = np.concatenate([indices[rows], tile_indices], axis=1)
        order = np.argsort(candidates, axis=1, kind="stable")[:, :k]
        squared[rows] = np.take_along_axis(candidates, order, axis=1)
        indices[rows] = np.take_along_axis(candidate_indices, order, axis=1)
    exact = np.empty(squared.shape)  # the tiles have the rounding errors of |u|^2 + |v|^2 - 2 u.v
    for i in range(k):
        exact[:, i] = np.linalg.norm(queries.astype(np.float64) - bank[indices[:, i]], axis=1)
    order = np.lexsort((indices, exact))
    return Nearest(np.take_along_axis(indices, order, axis=1), np.take_along_axis(exact, order, axis=1))


def _tiles(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yields tiles: a slice of the rows of `a`, a slice of the rows of `b`, and their squared distances."""
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"features of sizes {a.shape[1]} and {b.shape[1]} can't be compared: use one extractor for both"
        )
    for top in range(0, len(a), _ROWS):
        rows = slice(top, min(top + _ROWS, len(a)))
        u = a[rows].astype(np.float64)
        for left in range(0, len(b), _COLUMNS):
            columns = slice(left, min(left + _COLUMNS, len(b)))
            v = b[columns].astype(np.float64)
            squared = (u * u).sum(axis=1)[:, None] + (v * v).sum(axis=1)[None] - 2 * (u @ v.T)
            yield rows, columns, np.maximum(squared, 0.0)


def _radii(features: np.ndarray, k: int) -> np.ndarray:
    """Returns the squared distance of each feature to its k-th nearest other one, `[N]`."""
    best = np.full((len(features), k), np.inf)
    for rows, columns, squared in _tiles(features, features):
        diagonal = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
        squared[diagonal - rows.start, diagonal - columns.start] = np.inf  # a feature is not its own neighbour
        candidates = np.concatenate([best[rows], squared], axis=1)
        best[rows] = np.partition(candidates, k - 1, axis=1)[:, :k]
    return best.max(axis=1)
