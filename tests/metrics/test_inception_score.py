"""The Inception score, compared with scipy's entropies and with closed forms."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from gan_jax.metrics.inception_score import inception_score


def reference(logits, splits):
    p = scipy.special.softmax(logits.astype(np.float64), axis=1)
    scores = []
    for i in range(splits):
        part = p[i * len(p) // splits : (i + 1) * len(p) // splits]
        marginal = part.mean(axis=0)
        scores.append(np.exp(np.mean([scipy.stats.entropy(row, marginal) for row in part])))
    return np.mean(scores), np.std(scores)


@pytest.mark.parametrize(("count", "splits"), [(100, 10), (103, 10), (50, 1)])
def test_against_entropies(count, splits):
    logits = 3 * np.random.default_rng(0).normal(size=(count, 12)).astype(np.float32)
    mean, std = reference(logits, splits)
    expected = mean, std if splits > 1 else np.nan  # one split has no spread
    assert inception_score(logits, splits=splits)[:2] == pytest.approx(expected, rel=1e-10, nan_ok=True)


def test_equal_logits_score_1():
    assert inception_score(np.full((40, 7), 5.0)) == pytest.approx((1.0, 0.0, 10), abs=1e-12)


@pytest.mark.parametrize("certain", [50.0, 1e4])  # 1e4 overflows in a softmax that isn't shifted
def test_certain_and_even_scores_the_number_of_classes(certain):
    logits = certain * np.tile(np.eye(5), (20, 1))
    assert inception_score(logits, splits=4) == pytest.approx((5.0, 0.0, 4), abs=1e-9)


def test_the_order_matters_and_a_shuffle_corrects_it():
    logits = 50.0 * np.repeat(np.eye(5), 200, axis=0)
    assert inception_score(logits, splits=5).mean == pytest.approx(1.0)
    shuffled = inception_score(logits, splits=5, shuffle=2020)
    assert shuffled.mean > 4.8
    assert shuffled == inception_score(logits[np.random.RandomState(2020).permutation(1000)], splits=5)


@pytest.mark.parametrize(
    ("logits", "says"),
    [
        (np.zeros(5), r"must have the shape \[N, K\]"),
        (np.zeros((9, 5)), "fewer splits"),
        (np.full((20, 5), np.inf), "not finite"),
    ],
)
def test_bad_logits(logits, says):
    with pytest.raises(ValueError, match=says):
        inception_score(logits)
