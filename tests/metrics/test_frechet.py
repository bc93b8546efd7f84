"""The Frechet distance, compared with scipy's matrix root and with closed forms."""

import numpy as np
import pytest
import scipy.linalg

from gan_jax.metrics.frechet import Statistics, frechet_distance, statistics


def correlated(count, size, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(size, size)) / np.sqrt(size)
    return (np.maximum(rng.normal(size=(count, size)) @ mixing, 0) + shift).astype(np.float32)


def reference(x, y):
    x, y = x.astype(np.float64), y.astype(np.float64)
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(s1 @ s2)
    gap = x.mean(axis=0) - y.mean(axis=0)
    return gap @ gap + np.trace(s1 + s2) - 2 * np.trace(np.real(root))


@pytest.mark.parametrize(("n", "m", "size"), [(500, 300, 32), (9000, 200, 17), (40, 50, 3)])
def test_against_the_matrix_root(n, m, size):
    x, y = correlated(n, size, 0), correlated(m, size, 1, shift=0.1)
    a, b = statistics(x), statistics(y)
    np.testing.assert_allclose(a.covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=0, atol=1e-13)
    assert frechet_distance(a, b) == pytest.approx(reference(x, y), rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(20, 500), (500, 20), (20, 20), (20, 30)])
def test_fewer_samples_than_features(n, m):
    """The trace of the root is the nuclear norm of the product of the centred samples, without a matrix root."""
    x, y = (correlated(count, 64, seed).astype(np.float64) for count, seed in ((n, 0), (m, 1)))
    a, b = statistics(x), statistics(y)
    assert a.singular == (n <= 64)
    assert b.singular == (m <= 64)
    u, v = ((z - z.mean(axis=0)) / np.sqrt(len(z) - 1) for z in (x, y))
    gap = x.mean(axis=0) - y.mean(axis=0)
    exact = gap @ gap + (u**2).sum() + (v**2).sum() - 2 * np.linalg.norm(u @ v.T, "nuc")
    assert frechet_distance(a, b) == pytest.approx(exact, rel=1e-8)


def test_diagonal_covariances():
    rng = np.random.default_rng(0)
    means, deviations = rng.normal(size=(2, 10)), rng.uniform(0.1, 3, size=(2, 10))
    a, b = (Statistics(m, np.diag(s**2), 1000) for m, s in zip(means, deviations))
    exact = ((means[0] - means[1]) ** 2).sum() + ((deviations[0] - deviations[1]) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("count", [10, 500])
def test_a_set_is_at_no_distance_from_itself(count):
    """A feature that is always 0, as ReLU gives some, changes nothing."""
    x = correlated(count, 30, 0)
    x[:, 3] = 0
    a = statistics(x)
    assert 0 <= frechet_distance(a, a) < 1e-6 * np.trace(a.covariance)


def test_only_the_mean_differs():
    x = correlated(200, 16, 0).astype(np.float64)
    assert frechet_distance(statistics(x), statistics(x + 0.5)) == pytest.approx(16 * 0.25, rel=1e-9)


@pytest.mark.parametrize("big", [1e4, -1e4])
def test_far_from_the_origin(big):
    """The covariance of float32 features is exact even if their mean is far from 0."""
    x = np.random.default_rng(0).integers(0, 8, size=(5000, 4)).astype(np.float32)
    np.testing.assert_allclose(statistics(x + np.float32(big)).covariance, statistics(x).covariance, rtol=1e-9)


@pytest.mark.parametrize(
    ("features", "says"),
    [
        (np.zeros((5,)), r"must have the shape \[N, D\]"),
        (np.zeros((1, 4)), "use more samples"),
        (np.array([[1.0, np.nan], [0.0, 0.0]]), "not finite"),
    ],
)
def test_bad_features(features, says):
    with pytest.raises(ValueError, match=says):
        statistics(features)


def test_features_of_two_sizes():
    with pytest.raises(ValueError, match="sizes 3 and 4"):
        frechet_distance(statistics(np.eye(3)), statistics(np.eye(4)))
