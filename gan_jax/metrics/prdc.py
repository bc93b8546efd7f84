"""Precision, recall, density and coverage: what balls around features hold. And nearest neighbours.

A ball's radius is the distance from its centre to the k-th nearest *other* feature of its own set.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .frechet import check_features

_ROWS, _COLUMNS = 1024, 4096  # of a tile of squared distances: 32 MiB


class PRDC(NamedTuple):
    """Shares in [0, 1], but for density, which has no upper bound and is 1 for the data itself, on average."""

    precision: float
    recall: float
    density: float
    coverage: float


class Nearest(NamedTuple):
    """indices: int64 [Q, k], the nearest first. distances: float64 [Q, k], Euclidean."""

    indices: np.ndarray
    distances: np.ndarray


def prdc(real: np.ndarray, generated: np.ndarray, *, k: int = 5, closed: bool = False) -> PRDC:
    """Precision and recall, density and coverage, of generated features `[M, D]` against real ones `[N, D]`.

        precision  share of generated features in any real ball
        recall     share of real features in any generated ball
        density    real balls that a generated feature lies in, on average, over k
        coverage   share of real balls that hold a generated feature

    Kynkaanniemi et al., "Improved precision and recall metric", 2019; Naeem et al., "Reliable fidelity and
    diversity metrics for generative models", 2020. Distances are squared and float64, a tile at a time.

    Args:
        k: which neighbour gives the radius.
        closed: a point on a ball's surface is in it, as in torch-fidelity; in the `prdc` package it is not.

    Raises:
        ValueError: the features differ in size, are not finite, or a set has no more than k.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    check_features(real, "real", least=k + 1)
    check_features(generated, "generated", least=k + 1)
    real_radii, generated_radii = _radii(real, k), _radii(generated, k)
    inside = np.less_equal if closed else np.less
    balls = np.zeros(len(generated), np.int64)  # real balls that hold each generated feature
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
    """The k features of `bank` `[N, D]` nearest to each query `[Q, D]`; of equal ones the first.

    Raises:
        ValueError: the features differ in size, are not finite, or the bank has fewer than k.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    check_features(queries, "queries")
    check_features(bank, "bank", least=k)
    squared = np.full((len(queries), k), np.inf)
    indices = np.full((len(queries), k), -1, np.int64)
    for rows, columns, tile in _tiles(queries, bank):
        numbers = np.broadcast_to(np.arange(len(bank))[columns], tile.shape)
        candidates = np.concatenate([squared[rows], tile], axis=1)
        numbers = np.concatenate([indices[rows], numbers], axis=1)
        order = np.argsort(candidates, axis=1, kind="stable")[:, :k]
        squared[rows] = np.take_along_axis(candidates, order, axis=1)
        indices[rows] = np.take_along_axis(numbers, order, axis=1)
    exact = np.empty(squared.shape)  # a tile's have the rounding of |u|^2 + |v|^2 - 2 u.v
    for i in range(k):
        exact[:, i] = np.linalg.norm(queries.astype(np.float64) - bank[indices[:, i]], axis=1)
    order = np.lexsort((indices, exact))
    return Nearest(np.take_along_axis(indices, order, axis=1), np.take_along_axis(exact, order, axis=1))


def _tiles(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Squared distances of rows of `a` and of `b`, by slices of both."""
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"features of {a.shape[1]} and {b.shape[1]} numbers can't be compared: use one extractor for both"
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
    """Squared distance of each feature to its k-th nearest other one, `[N]`."""
    best = np.full((len(features), k), np.inf)
    for rows, columns, squared in _tiles(features, features):
        own = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
        squared[own - rows.start, own - columns.start] = np.inf
        candidates = np.concatenate([best[rows], squared], axis=1)
        best[rows] = np.partition(candidates, k - 1, axis=1)[:, :k]
    return best.max(axis=1)
