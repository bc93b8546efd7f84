"""Class coverage, compared with values computed by hand."""

import math

import numpy as np
import pytest

from gan_jax.metrics.modes import class_coverage


def test_by_hand():
    """Shares 1/2, 1/4 and 1/4 in 4 classes: the divergence is log 4 minus the entropy 3/2 log 2."""
    found = class_coverage(np.array([0, 0, 1, 3]), 4)
    assert found == (3, 4, pytest.approx(math.log(4) - 1.5 * math.log(2)))


def test_against_the_data():
    labels = np.repeat([0, 1, 2], [6, 3, 1])
    assert class_coverage(labels, 3, reference=np.array([60, 30, 10])) == (3, 3, pytest.approx(0.0, abs=1e-12))
    expected = 0.6 * math.log(0.6 / 0.2) + 0.3 * math.log(0.3 / 0.3) + 0.1 * math.log(0.1 / 0.5)
    assert class_coverage(labels, 3, reference=np.array([0.2, 0.3, 0.5])).kl == pytest.approx(expected)


def test_full_and_collapsed():
    assert class_coverage(np.arange(1000), 1000) == (1000, 1000, pytest.approx(0.0, abs=1e-12))
    assert class_coverage(np.full(26_000, 7), 1000) == (1, 1000, pytest.approx(math.log(1000)))


def test_a_class_that_the_data_lacks():
    assert class_coverage(np.array([0, 1]), 2, reference=np.array([1, 0])).kl == math.inf
    assert class_coverage(np.array([0, 0]), 2, reference=np.array([1, 0])).kl == 0


def test_least():
    labels = np.repeat([0, 1, 2], [1, 2, 3])
    assert [class_coverage(labels, 5, least=n).found for n in (1, 2, 3, 4)] == [3, 2, 1, 0]


def test_noise_of_a_perfect_generator():
    """As the docstring says, it is about (classes - 1) / (2 N)."""
    rng = np.random.default_rng(0)
    kls = [class_coverage(rng.integers(0, 50, 5000), 50).kl for _ in range(40)]
    assert np.mean(kls) == pytest.approx(49 / 10_000, rel=0.1)


@pytest.mark.parametrize(
    ("labels", "reference", "says"),
    [
        (np.array([], np.int32), None, "N at least 1"),
        (np.array([0.0, 1.0]), None, "integers"),
        (np.array([0, 3]), None, r"in \[0, 3\)"),
        (np.array([-1, 0]), None, r"in \[0, 3\)"),
        (np.array([0, 1]), np.ones(2), "counts or shares"),
        (np.array([0, 1]), np.array([1, -1, 1]), "none negative"),
    ],
)
def test_bad_labels(labels, reference, says):
    with pytest.raises(ValueError, match=says):
        class_coverage(labels, 3, reference=reference)
