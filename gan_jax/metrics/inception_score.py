"""Inception score, from class logits."""

import math
from typing import NamedTuple

import numpy as np


class InceptionScore(NamedTuple):
    """Scores of the splits: a score is between 1 and the number of classes.

    Attributes:
        mean: of the scores.
        std: their standard deviation, with the divisor `splits`, not `splits - 1`; NaN for one split.
        splits: the number of splits.
    """

    mean: float
    std: float
    splits: int


def inception_score(logits: np.ndarray, *, splits: int = 10, shuffle: int | None = None) -> InceptionScore:
    """Computes `exp E_x KL(p(y|x) || p(y))` for each split, where p(y) is the mean over the split, in float64.

    Salimans et al., "Improved techniques for training GANs", 2016. Published scores use the 1008 outputs of the
    original Inception network. Scores of different classifiers can't be compared.

    Split i is the rows `[i N // splits, (i + 1) N // splits)`. Samples that are sorted by class get a low score;
    torch-fidelity therefore shuffles them first, with seed 2020.

    Args:
        logits: `[N, K]`, before the softmax.
        splits: the number of equal parts. Each one gets a score.
        shuffle: seed of a permutation before the split; None keeps the order.

    Raises:
        ValueError: the logits are not `[N, K]` with N >= splits, or not all finite.
    """
    if logits.ndim != 2:
        raise ValueError(f"logits must have the shape [N, K], got {logits.shape}")
    count = len(logits)
    if not 1 <= splits <= count:
        raise ValueError(f"{count} samples can't be scored in {splits} splits: use more samples, or fewer splits")
    if not np.isfinite(logits).all():
        raise ValueError("logits has values that are not finite: check the samples that they come from")
    if shuffle is not None:
        logits = logits[np.random.RandomState(shuffle).permutation(count)]
    scores = [_score(logits[i * count // splits : (i + 1) * count // splits]) for i in range(splits)]
    std = float(np.std(scores)) if splits > 1 else math.nan
    return InceptionScore(float(np.mean(scores)), std, splits)


def _score(logits: np.ndarray) -> float:
    logits = logits.astype(np.float64)
    log_p = logits - _log_sum_exp(logits, axis=1)  # [N, K]
    log_marginal = _log_sum_exp(log_p, axis=0) - np.log(len(log_p))  # [1, K]
    divergence = (np.exp(log_p) * (log_p - log_marginal)).sum(axis=1)
    return float(np.exp(divergence.mean()))


def _log_sum_exp(x: np.ndarray, axis: int) -> np.ndarray:
    top = x.max(axis=axis, keepdims=True)
    return top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True))
