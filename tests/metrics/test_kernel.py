"""The kernel distance, compared with double loops and with its spread over new samples."""

import math

import numpy as np
import pytest

from gan_jax.metrics import kernel as module
from gan_jax.metrics.kernel import kernel_distance, kernel_distance_full


def features(count, seed, shift=0.0, size=6):
    return (np.random.default_rng(seed).normal(size=(count, size)) + shift).astype(np.float32)


def by_loops(x, y, degree, gamma, coef):
    def k(u, v):
        return (gamma * sum(float(a) * float(b) for a, b in zip(u, v)) + coef) ** degree

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(u, v) for u in x for v in y) / (n * m)


@pytest.mark.parametrize("options", [{}, {"degree": 2, "gamma": 0.3, "coef": 0.5}])
def test_subsets_against_loops(options):
    x, y = features(30, 0), features(25, 1, shift=0.3)
    full = {"degree": 3, "gamma": 1 / 6, "coef": 1.0, **options}
    draws = np.random.RandomState(7)
    estimates = []
    for _ in range(4):
        u = x[draws.choice(30, 12, replace=False)]
        v = y[draws.choice(25, 12, replace=False)]
        estimates.append(by_loops(u, v, **full))
    found = kernel_distance(x, y, subsets=4, subset_size=12, seed=7, **options)
    assert found.mean == pytest.approx(sum(estimates) / 4, rel=1e-10)
    mean = sum(estimates) / 4
    std = math.sqrt(sum((e - mean) ** 2 for e in estimates) / 4)
    assert found.subset_std == pytest.approx(std, rel=1e-10)
    assert found.subset_error == pytest.approx(std / 2, rel=1e-10)
    assert found[3:] == (4, 12)


def test_all_samples_against_loops(monkeypatch):
    """There are several blocks, and the last one is incomplete."""
    monkeypatch.setattr(module, "_ROWS", 8)
    x, y = features(30, 0), features(21, 1, shift=0.3)
    found = kernel_distance_full(x, y)
    assert found.value == pytest.approx(by_loops(x, y, 3, 1 / 6, 1.0), rel=1e-10)
    assert kernel_distance_full(y, x) == pytest.approx(found, rel=1e-10)


def test_one_subset_of_all_is_the_full_estimate():
    x, y = features(40, 0), features(40, 1, shift=0.3)
    found = kernel_distance(x, y, subsets=3, subset_size=40)
    assert found.mean == pytest.approx(kernel_distance_full(x, y).value, rel=1e-10)
    assert math.isnan(found.subset_std)  # not 1e-16: all subsets are one
    assert math.isnan(found.subset_error)


def test_no_bias_and_the_standard_error():
    """Over new samples the mean is the true distance (0 for equal ones), and the spread the standard error."""
    pairs = [(features(60, 2 * i, size=3), features(80, 2 * i + 1, 0.7, size=3)) for i in range(300)]
    found = np.array([kernel_distance_full(x, y) for x, y in pairs])
    spread = found[:, 0].std(ddof=1)
    assert np.sqrt((found[:, 1] ** 2).mean()) == pytest.approx(spread, rel=0.15)
    same = np.array([kernel_distance_full(x, y - np.float32(0.7)).value for x, y in pairs])
    assert abs(same.mean()) < 3.5 * same.std() / math.sqrt(300)
    assert (same < 0).any()


def test_the_seed_draws_the_subsets():
    x, y = features(50, 0), features(50, 1)
    few = {"subsets": 3, "subset_size": 10}
    assert kernel_distance(x, y, **few) == kernel_distance(x, y, **few, seed=2020)
    assert kernel_distance(x, y, **few) != kernel_distance(x, y, **few, seed=1)


@pytest.mark.parametrize(
    ("x", "y", "options", "says"),
    [
        (features(9, 0), features(50, 1), {}, "give a smaller subset_size"),
        (features(9, 0), features(9, 1, size=5), {"subset_size": 5}, "sizes 6 and 5"),
        (features(9, 0), features(9, 1), {"subset_size": 1}, "subset_size at least 2"),
        (features(9, 0), features(9, 1, shift=np.nan), {}, "not finite"),
    ],
)
def test_what_cannot_be_compared(x, y, options, says):
    with pytest.raises(ValueError, match=says):
        kernel_distance(x, y, **options)
