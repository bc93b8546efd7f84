"""The evaluator: which images it compares, what it records, what it refuses, and the labels of samples."""

import dataclasses

import numpy as np
import pytest

import fake_features
import small_gan
from gan_jax.config import Call
from gan_jax.data.arrays import Arrays
from gan_jax.data.digits import digits
from gan_jax.data.gaussians import gaussians
from gan_jax.data.source import Mirrored
from gan_jax.data.stacked import stacked
from gan_jax.errors import UserError
from gan_jax.metrics.evaluator import Evaluator, generate_images
from gan_jax.metrics.features.choose import make_extractor
from gan_jax.metrics.frechet import frechet_distance, statistics
from gan_jax.metrics.measures import MEASURES, NUMBERS
from gan_jax.metrics.record import Record
from gan_jax.runtime.sampler import Sampler
from gan_jax.train import periodic_evaluation as measuring

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


def images(count, seed=0):
    """Returns digits of the data with noise, in the place of generated images."""
    rows = np.random.default_rng(seed).integers(0, 1797, count)
    noise = np.random.default_rng(seed + 1).integers(0, 40, (count, 8, 8, 1))
    return np.clip(digits().read(rows)["image"] + noise, 0, 255).astype(np.uint8)


def test_a_record_is_of_these_images_and_those_reals():
    evaluator = Evaluator(digits(), fake_features.quarters(), ["frechet"])
    made = images(500)
    (record,) = evaluator.score([made[:123], made[123:]], seed=5, step=7, options={"truncation": 0.5})
    expected = frechet_distance(
        statistics(fake_features.by_hand(made)),
        statistics(fake_features.by_hand(digits().image)),
    )
    assert record.value == pytest.approx(expected, rel=1e-5)
    assert (record.generated_count, record.reference_count, record.seed, record.step) == (500, 1797, 5, 7)
    assert record.reference == digits().fingerprint()
    assert record.options == {"truncation": 0.5}
    assert record.features == "quarters"
    assert record.size == fake_features.by_hand(made).shape[1]
    # A run's file and the digest that its checkpoints keep are as they were without this field.
    assert "size" not in record.to_json()
    assert record == Record.from_json(record.to_json())
    assert measuring.protocol([record]) == measuring.protocol([dataclasses.replace(record, size=0)])


def test_images_that_are_not_square_are_measured_and_stretching_is_noted():
    source = Arrays("noise", np.random.default_rng(0).integers(0, 256, (40, 12, 8, 1)).astype(np.uint8))
    note = "images of 12 x 8 were stretched to the square that quarters reads"
    for resize in ("none", "8 px"):
        extractor = dataclasses.replace(fake_features.quarters(), resize=resize)
        evaluator = Evaluator(source, extractor, ["frechet"])
        (record,) = evaluator.score([source.image[:30]], seed=0)
        assert (note in record.notes) == (resize == "8 px")
    np.testing.assert_array_equal(evaluator.nearest_reals(source.image[:3], 1)[:, 0], source.image[:3])


def test_reals_are_those_before_the_mirror_and_a_fixed_choice_of_them():
    plain = Evaluator(digits(), fake_features.quarters(), ["frechet"], reference=100)
    mirrored = Evaluator(Mirrored(digits()), fake_features.quarters(), ["frechet"], reference=100)
    (one,), (other,) = (evaluator.score([images(50)], seed=0) for evaluator in (plain, mirrored))
    assert one == other
    assert one.reference_count == 100


def test_every_metric_and_every_number():
    evaluator = Evaluator(digits(), fake_features.quarters(), [m for m in MEASURES if m != "modes"])
    records = {record.metric: record for record in evaluator.score([images(400)], seed=0)}
    assert set(records) == {name for name, (metric, _) in NUMBERS.items() if metric != "modes"}
    assert all(np.isfinite(record.value) for record in records.values())
    assert 0 < records["precision"].value <= 1
    same = {r.metric: r for r in evaluator.score([digits().image], seed=0)}
    for name, (_, more) in NUMBERS.items():  # the data are no worse than the data with noise
        if name in same and name not in ("inception_score", "density"):
            assert (same[name].value - records[name].value) * (1 if more else -1) >= 0, name


def test_what_cannot_be_measured_is_a_sentence():
    with pytest.raises(UserError, match="no metric 'fid': there are frechet, kernel"):
        Evaluator(digits(), fake_features.quarters(), ["fid"])
    with pytest.raises(UserError, match=r"metrics need images, but the data have samples of shape \(2,\)"):
        Evaluator(gaussians(count=10), fake_features.quarters(), ["frechet"])
    evaluator = Evaluator(digits(), fake_features.quarters(), ["modes"])
    with pytest.raises(UserError, match="a classifier of the data's 10 classes, but these features have 3"):
        evaluator.score([images(50)], seed=0)
    evaluator = Evaluator(digits(), fake_features.quarters(), ["prdc"])
    with pytest.raises(UserError, match="generated"):
        evaluator.score([images(3)], seed=0)


def test_the_protocol_is_all_but_the_number():
    def digest(reference=0, count=50, seed=0, scale=1.0, step=1):
        evaluator = Evaluator(digits(), fake_features.quarters(scale), ["frechet"], reference)
        return measuring.protocol(evaluator.score([images(count)], seed=seed, step=step))

    assert digest() == digest(step=2)
    assert len({digest(), digest(reference=100), digest(count=60), digest(seed=1), digest(scale=2.0)}) == 5


def test_labels_are_shared_out_as_the_reals_are(tmp_path):
    """If 9 of 10 real labels are 0, then 9 of 10 wanted labels are 0, and more labels repeat the first ones."""
    label = np.where(np.arange(200) % 10 == 0, 1, 0).astype(np.int32)
    source = Arrays("uneven", digits().image[:200], label, 2)
    evaluator = Evaluator(source, fake_features.quarters(), ["frechet"])
    wanted = evaluator.wanted_labels(300)
    assert np.bincount(wanted[:200]).tolist() == [180, 20]
    np.testing.assert_array_equal(wanted[200:], wanted[:100])
    assert len(np.flatnonzero(wanted[:50])) > 0  # not sorted


def test_a_sampler_takes_labels():
    game = small_gan.make(generator=Labelled())
    variables = {"params": {}}
    sampler = Sampler(game, 0, classes=3)
    given = np.array([2, 0, 1, 1, 2], np.int32)
    assert sampler(variables, 5)[:, 0].tolist() == [0, 1, 2, 0, 1]
    assert sampler(variables, 5, labels=given)[:, 0].tolist() == given.tolist()
    many = np.arange(600, dtype=np.int32)[::-1] % 3
    np.testing.assert_array_equal(sampler(variables, 600, first=7, labels=many)[:, 0], many)
    assert Sampler(game, 0, classes=3, labels=[2, 1])(variables, 3)[:, 0].tolist() == [2, 1, 2]


class Labelled:
    """A generator whose sample is its label."""

    def init(self, key, latents, label):
        return {"params": {}}

    def apply(self, variables, latents, label):
        return label.astype(np.float32)[:, None] + 0 * latents


def test_samples_that_are_not_finite_are_no_black_images():
    game = small_gan.make(generator=Broken())
    with pytest.raises(UserError, match="samples are not finite: go back to an earlier --step"):
        list(generate_images(Sampler(game, 0), {"params": {}}, 10))


class Broken:
    """A generator whose samples are not finite."""

    def init(self, key, latents):
        return {"params": {}}

    def apply(self, variables, latents):
        return latents / 0.0


@pytest.mark.slow  # it trains the classifier; a fast test of the channels is in test_classifier.py
@pytest.mark.timeout(180)
def test_stacked_sets_are_read_channel_by_channel():
    """A classifier of the ten digits counts the thousand modes of three stacked digits."""
    source = stacked(digits(), count=3000)
    extractor = make_extractor(Call("classifier"), source)
    evaluator = Evaluator(source, extractor, ["modes", "frechet"])
    assert extractor.name == "stacked classifier"
    rows = stacked(digits(), count=3000, seed=1).read(np.arange(3000))  # stacks that are not in the reference
    found = {record.metric: record for record in evaluator.score([rows["image"]], seed=0)}
    assert found["modes"].options == {"classes": 1000}
    present = len(np.unique(rows["label"]))
    assert abs(found["modes"].value - present) < 30  # one digit in twenty may be classified wrongly
    assert found["modes_kl"].value < 0.5  # about 0.3 of it because there are 3 samples a mode
    one = stacked(digits(), count=1).read(np.zeros(1, int))["image"]
    collapsed = {r.metric: r for r in evaluator.score([np.repeat(one, 500, axis=0)], seed=0)}
    assert collapsed["modes"].value == 1
    assert collapsed["modes_kl"].value == pytest.approx(np.log(1000), abs=1.0)
