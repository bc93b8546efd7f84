"""Mode coverage against a count in plain Python."""

import math

import numpy as np
import pytest

from gan_jax.data.gaussians import centers, gaussians
from gan_jax.metrics.modes import mode_coverage


def by_hand(samples, means, sigma, least):
    counts, near = [0] * len(means), 0
    for sample in samples:
        distances = [math.dist(sample, mean) for mean in means]
        closest = min(range(len(means)), key=distances.__getitem__)
        if distances[closest] <= 3 * sigma:
            counts[closest] += 1
            near += 1
    return sum(count >= least for count in counts), near / len(samples)


@pytest.mark.parametrize("least", [1, 5, 20])
@pytest.mark.parametrize(("layout", "sigma"), [("grid", 0.05), ("ring", 0.3), ("grid", 1.0)])
def test_against_a_count_by_hand(layout, sigma, least):
    """With sigma 1.0 the circles overlap, and a sample counts for its nearest mode only."""
    rng = np.random.default_rng(3)
    means = centers(layout)
    samples = (means[rng.integers(0, len(means), 600)] + rng.normal(0, 1.2 * sigma, (600, 2))).astype(np.float32)
    samples[:100] = rng.uniform(-6, 6, (100, 2))
    modes = mode_coverage(samples, means, sigma, least)
    assert (modes.found, pytest.approx(modes.share)) == by_hand(samples, means, sigma, least)


def test_the_data_itself_has_every_mode():
    """A round Gaussian in the plane has 1 - exp(-9/2) of its mass within 3 sigma."""
    source = gaussians(count=10_000, seed=1)
    samples = source.read(np.arange(10_000))["image"]
    modes = mode_coverage(samples, source.centers, source.sigma)
    assert modes.found == 25
    assert modes.share == pytest.approx(1 - math.exp(-4.5), abs=0.003)


def test_a_collapsed_generator_is_seen():
    means = centers("grid")
    assert mode_coverage(np.repeat(means[:1], 10_000, axis=0), means, 0.05) == (1, 1.0)
    assert mode_coverage(np.full((10_000, 2), 100.0), means, 0.05) == (0, 0.0)
    few = np.repeat(means, 19, axis=0)  # each mode has one sample too few
    assert mode_coverage(few, means, 0.05) == (0, 1.0)
