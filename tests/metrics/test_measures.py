"""The metrics by name: the sizes of their subsets on small sets, and what is recorded of them."""

import functools
import math

import numpy as np
import pytest

from gan_jax.metrics import measures
from gan_jax.metrics.kernel import kernel_distance, kernel_distance_full
from gan_jax.metrics.measures import MEASURES, Comparison


def features(count, seed, shift=0.0):
    return np.random.default_rng(seed).normal(size=(count, 5)) + shift


def measured(name, generated, real=None):
    comparison = Comparison(generated, generated, lambda: real, lambda: None, None)
    (number,) = MEASURES[name](comparison)
    return number


@pytest.mark.parametrize(("counts", "size"), [((50, 80), 25), ((81, 50), 25), ((4, 9), 2)])
def test_the_kernel_distance_of_small_sets_is_over_halves(counts, size):
    """The size is an option, which enters `protocol`, because the numbers are others than those over 1000."""
    generated, real = features(counts[0], 0, 0.3), features(counts[1], 1)
    number = measured("kernel", generated, real)
    expected = kernel_distance(generated, real, subset_size=size)
    assert (number.value, number.error) == (expected.mean, expected.subset_std)
    assert number.error > 1e-6  # with subsets of all samples it was 1e-16
    assert number.error_meaning == f"standard deviation of one of 100 subsets of {size}"
    assert number.options == {"subset_size": size}


@pytest.mark.parametrize(("count", "size"), [(2000, 1000), (1999, 999)])
def test_the_kernel_distance_of_large_sets_is_over_subsets_of_1000(monkeypatch, count, size):
    monkeypatch.setattr(measures, "kernel_distance", functools.partial(kernel_distance, subsets=1))
    generated, real = features(count, 0, 0.3), features(2001, 1)
    number = measured("kernel", generated, real)
    assert number.value == kernel_distance(generated, real, subset_size=size, subsets=1).mean
    assert number.options == ({} if size == 1000 else {"subset_size": size})
    assert number.error_meaning.endswith(f" of {size}")


@pytest.mark.parametrize("count", [2, 3])
def test_the_kernel_distance_of_three_samples_has_no_error(count):
    generated, real = features(count, 0), features(count, 1)
    number = measured("kernel", generated, real)
    assert (number.error, number.error_meaning) == (None, None)
    if count == 2:
        assert number.value == pytest.approx(kernel_distance_full(generated, real).value, rel=1e-10)


@pytest.mark.parametrize(("count", "splits"), [(20, 10), (200, 10), (19, 9), (10, 5), (3, 1), (1, 1)])
def test_the_inception_score_of_few_samples_has_splits_of_two(count, splits):
    """A split of one sample scores 1, so 10 samples in 10 splits scored 1 with an error of 0."""
    logits = 50.0 * np.eye(1000)[:count]  # every sample is a class of its own: a split of n scores n
    number = measured("inception_score", logits)
    assert number.value == pytest.approx(count / splits)
    assert number.options == ({} if splits == 10 else {"splits": splits})
    if splits == 1:
        assert (number.error, number.error_meaning) == (None, None)
    else:
        assert number.error == pytest.approx(math.sqrt(np.var([(i + 1) * count // splits - i * count // splits
                                                               for i in range(splits)])), abs=1e-9)  # fmt: skip
