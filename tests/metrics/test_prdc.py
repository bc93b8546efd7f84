"""Precision, recall, density, coverage and nearest neighbours, compared with brute force."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from gan_jax.metrics import prdc as module
from gan_jax.metrics.prdc import nearest, prdc


def features(count, seed, scale=1.0, size=5):
    return (scale * np.random.default_rng(seed).normal(size=(count, size))).astype(np.float32)


def by_brute_force(real, generated, k, closed=False):
    def radius(points, i):
        others = [np.linalg.norm(points[i] - points[j]) for j in range(len(points)) if j != i]
        return sorted(others)[k - 1]

    real, generated = real.astype(np.float64), generated.astype(np.float64)
    of_real = [radius(real, i) for i in range(len(real))]
    of_generated = [radius(generated, i) for i in range(len(generated))]

    def inside(distance, limit):
        return distance <= limit if closed else distance < limit

    d = [[np.linalg.norm(r - g) for g in generated] for r in real]
    n, m = range(len(real)), range(len(generated))
    precision = np.mean([any(inside(d[i][j], of_real[i]) for i in n) for j in m])
    recall = np.mean([any(inside(d[i][j], of_generated[j]) for j in m) for i in n])
    density = sum(inside(d[i][j], of_real[i]) for i in n for j in m) / (k * len(generated))
    coverage = np.mean([any(inside(d[i][j], of_real[i]) for j in m) for i in n])
    return precision, recall, density, coverage


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 16)
    monkeypatch.setattr(module, "_COLUMNS", 24)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("k", [1, 3, 5])
def test_against_brute_force(k):
    real, generated = features(50, 0), features(37, 1, scale=0.7)
    found = prdc(real, generated, k=k)
    assert tuple(found) == pytest.approx(by_brute_force(real, generated, k), abs=1e-12)
    assert found.recall != found.coverage  # the example can tell them apart


@pytest.mark.parametrize("closed", [False, True])
def test_on_the_surface(closed):
    """On a lattice many points lie exactly on the surface of a ball."""
    lattice = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0)), axis=-1).reshape(-1, 2)
    shifted = lattice + np.array([1.0, 0.0])
    found = prdc(lattice, shifted, k=2, closed=closed)
    assert tuple(found) == pytest.approx(by_brute_force(lattice, shifted, 2, closed), abs=1e-12)
    assert (found.density == pytest.approx(prdc(lattice, shifted, k=2).density)) != closed


@pytest.mark.usefixtures("small_tiles")
def test_a_set_against_itself():
    """A point lies in its own ball, and in k - 1 others on average: the density is 1."""
    real = features(60, 0)
    assert tuple(prdc(real, real)) == pytest.approx((1.0, 1.0, 1.0, 1.0))


def test_far_away_and_collapsed():
    real = features(60, 0)
    assert tuple(prdc(real, real + 100)) == (0.0, 0.0, 0.0, 0.0)
    collapsed = prdc(real, real[:1] + 0.001 * features(60, 1))
    assert collapsed.precision == 1.0
    assert collapsed.recall <= 1 / 60
    assert collapsed.coverage < 0.3


@pytest.mark.usefixtures("small_tiles")
def test_nearest_against_a_sort():
    queries, bank = features(20, 2), features(70, 3)
    distances = cdist(queries.astype(np.float64), bank.astype(np.float64))
    found = nearest(queries, bank, k=4)
    np.testing.assert_array_equal(found.indices, np.argsort(distances, axis=1)[:, :4])
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :4], rtol=1e-12)


@pytest.mark.usefixtures("small_tiles")
def test_nearest_finds_a_copy_exactly_and_the_first_of_equals():
    bank = np.concatenate([features(30, 0) + 1000, features(30, 0) + 1000])
    found = nearest(bank[:30], bank, k=2)
    assert (found.distances == 0).all()
    np.testing.assert_array_equal(found.indices, np.stack([np.arange(30), np.arange(30, 60)], axis=1))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: prdc(features(5, 0), features(50, 1)), "real has 5 samples, but needs at least 6"),
        (lambda: prdc(features(9, 0), features(9, 1, size=4)), "sizes 5 and 4"),
        (lambda: prdc(features(9, 0), features(9, 1), k=0), "k must be at least 1"),
        (lambda: nearest(features(3, 0), features(2, 1), k=3), "bank has 2 samples"),
    ],
)
def test_what_cannot_be_compared(call, says):
    with pytest.raises(ValueError, match=says):
        call()
