"""Two sets of images: numbers that are known, the same number either way round, and what is said of them."""

import numpy as np
import pytest
from scipy import linalg

import fake_features
from gan_jax.data.arrays import Arrays
from gan_jax.data.digits import digits
from gan_jax.data.gaussians import gaussians
from gan_jax.data.source import Mirrored
from gan_jax.errors import UserError
from gan_jax.metrics.compare import compare_sets
from gan_jax.metrics.record import Record

ALL = digits().image
CLEAN = Arrays("clean", ALL[:400])
NOISE = np.random.default_rng(0).integers(0, 60, (300, 8, 8, 1))
NOISY = Arrays("noisy", np.clip(ALL[500:800] + NOISE, 0, 255).astype(np.uint8))
SYMMETRIC = ["frechet", "kernel", "kernel_full"]


def measure(a, b, names, **options) -> dict[str, Record]:
    return {r.metric: r for r in compare_sets(a, b, fake_features.quarters(), names, **options)}


def test_frechet_is_that_of_its_closed_form():
    """|m - n|^2 + Tr(S + T - 2 (S T)^(1/2)), with SciPy's matrix root."""
    x, y = (fake_features.by_hand(source.image) for source in (CLEAN, NOISY))
    s, t = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s + t - 2 * linalg.sqrtm(s @ t).real)
    record = measure(CLEAN, NOISY, ["frechet"])["frechet"]
    assert record.value == pytest.approx(expected, rel=1e-4)
    assert (record.reference, record.generated) == (CLEAN.fingerprint(), NOISY.fingerprint())
    assert (record.reference_count, record.generated_count, record.features) == (400, 300, "quarters")


def test_symmetric_metrics_are_the_same_bits_either_way_round():
    there, back = measure(CLEAN, NOISY, [*SYMMETRIC, "prdc"]), measure(NOISY, CLEAN, [*SYMMETRIC, "prdc"])
    for name in SYMMETRIC:
        assert (there[name].value, there[name].error) == (back[name].value, back[name].error)
    assert there["precision"].value == back["recall"].value
    assert there["recall"].value == back["precision"].value


def test_a_set_against_itself():
    same = measure(CLEAN, Arrays("copy", ALL[:400][::-1]), [*SYMMETRIC, "prdc"])  # in another order
    scale = np.trace(np.cov(fake_features.by_hand(CLEAN.image), rowvar=False))
    assert same["frechet"].value < 1e-6 * scale
    different = measure(CLEAN, NOISY, ["kernel", "kernel_full"])
    assert abs(same["kernel"].value) < 0.02 * different["kernel"].value
    # Of equal sets the unbiased estimate is known: the pairs (i, i) are counted between the sets alone.
    x = fake_features.by_hand(CLEAN.image)
    kernel, n = (x @ x.T / x.shape[1] + 1) ** 3, len(x)
    pairs = kernel.sum() - np.trace(kernel)
    expected = 2 * (pairs / (n * (n - 1)) - kernel.sum() / n**2)
    assert same["kernel_full"].value == pytest.approx(expected, rel=1e-3)
    assert abs(expected) < 0.02 * different["kernel_full"].value
    assert same["precision"].value == same["recall"].value == same["coverage"].value == 1
    assert all("A and B are the same images" in " ".join(record.notes) for record in same.values())


def test_count_is_a_choice_by_the_seed():
    one, again, other = (measure(CLEAN, NOISY, ["frechet"], count=100, seed=s)["frechet"] for s in (0, 0, 1))
    assert (one.reference_count, one.generated_count, one.seed, other.seed) == (100, 100, 0, 1)
    assert one == again
    assert one.value != other.value


@pytest.mark.parametrize(
    ("a", "b", "metric", "note"),
    [
        (CLEAN, Arrays("b", ALL[500:508]), "frechet", "B has 8 images for 8 features. Its covariance is singular"),
        (Arrays("a", ALL[500:508]), CLEAN, "frechet", "A has 8 images for 8 features"),
        (CLEAN, Arrays("b", ALL[500:599]), "prdc", "B has 99 images for k = 5 neighbours"),
        (CLEAN, NOISY, "frechet", "B has 300 images. Below 1,000, chance moves these numbers"),
        (CLEAN, Arrays("b", ALL[390:500]), "prdc", "10 of the 110 images of B are in A too"),
        (Arrays("a", ALL), Arrays("b", ALL[::-1]), "kernel_full", "may be negative. It means that no difference"),
    ],
)
def test_a_hint_where_a_number_means_nothing_yet(a, b, metric, note):
    for record in measure(a, b, [metric]).values():
        assert note in " ".join(record.notes)


def test_no_hint_where_there_is_nothing_to_say():
    large, other = Arrays("large", ALL[:1000]), Arrays("other", np.flip(ALL[:1000], axis=1))
    assert [r.notes for r in measure(large, other, ["frechet", "kernel", "prdc"]).values()] == [()] * 6


@pytest.mark.parametrize(
    ("a", "b", "metric", "says"),
    [
        (CLEAN, digits(size=16), "frechet", "A are 8 x 8 and those of B are 16 x 16: resize both by --size 8"),
        (CLEAN, gaussians(count=9), "frechet", r"B has samples of shape \(2,\): give a set of images"),
        (CLEAN, Arrays("one", ALL[:1]), "frechet", "at least 2 images, but B has 1"),
        (
            CLEAN,
            Arrays("five", ALL[:5]),
            "prdc",
            r"^prdc: generated has 5 samples.*\(A is real, B is generated\)$",
        ),
        (CLEAN, NOISY, "fid", "no metric 'fid'"),
        (CLEAN, NOISY, "modes", "these have no labels: omit it"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(a, b, metric, says):
    with pytest.raises(UserError, match=says):
        measure(a, b, [metric])


def test_grey_and_colour_are_compared_and_mirror_images_are_images_of_the_set():
    colour = Arrays("colour", np.repeat(ALL[:400], 3, axis=-1))
    assert measure(CLEAN, colour, ["frechet"])["frechet"].value < 1e-3
    assert measure(CLEAN, Mirrored(CLEAN), ["frechet"])["frechet"].generated_count == 800


def test_a_metric_with_too_few_images_can_be_left_out():
    with pytest.raises(
        UserError, match=r"^prdc: generated has 5 .*; or leave prdc out: --metrics frechet,kernel$"
    ):
        measure(CLEAN, Arrays("five", ALL[:5]), ["frechet", "prdc", "kernel"])
