"""Metrics of runs: what is compared and recorded, metrics in training and the best checkpoint, exact on resume."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

import fake_features
import games
import runs
from gan_jax import pixels, report
from gan_jax.checkpoint import Checkpoints
from gan_jax.commands import sample_run
from gan_jax.commands.evaluate_run import evaluate
from gan_jax.config import Call
from gan_jax.data.arrays import Arrays
from gan_jax.data.digits import digits
from gan_jax.data.gaussians import gaussians
from gan_jax.data.source import Mirrored
from gan_jax.data.stacked import stacked
from gan_jax.errors import UserError
from gan_jax.metrics import evaluator as evaluation
from gan_jax.metrics.frechet import frechet_distance, statistics
from gan_jax.metrics.measures import MEASURES, NUMBERS
from gan_jax.metrics.record import EVALUATIONS, read
from gan_jax.runtime.sampler import Sampler
from gan_jax.train import periodic_evaluation as measuring
from gan_jax.train.open_run import open_run
from runs import call, sentence

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]

QUARTERS = "fake_features:quarters"
MEASURED = [
    "steps=60", f"metrics.features={QUARTERS}", "metrics.every=20", "metrics.count=300",
    "metrics.names=(frechet,)", "checkpoint.every=10", "checkpoint.keep=1", "checkpoint.best=frechet",
    "sample.every=60",
]  # fmt: skip


@pytest.fixture(scope="module")
def measured(config, tmp_path_factory):
    """A run that measured itself at steps 20, 40 and 60."""
    workdir = tmp_path_factory.mktemp("measured") / "run"
    outcome = call("train", config, *MEASURED, "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    return workdir, outcome


def images(count, seed=0, source=None):
    """Some of the digits themselves, with noise, as generated images."""
    rows = np.random.default_rng(seed).integers(0, 1797, count)
    noise = np.random.default_rng(seed + 1).integers(0, 40, (count, 8, 8, 1))
    return np.clip(digits().read(rows)["image"] + noise, 0, 255).astype(np.uint8)


def by_hand(pictures):
    parts = pictures.astype(np.float64).reshape(len(pictures), 2, 4, 2, 4, 1)
    return np.concatenate([parts.mean((2, 4, 5)).reshape(-1, 4), parts.std((2, 4, 5)).reshape(-1, 4)], 1)


def test_a_record_is_of_these_images_and_those_reals():
    evaluator = evaluation.Evaluator(digits(), fake_features.quarters(), ["frechet"])
    made = images(500)
    (record,) = evaluator.score([made[:123], made[123:]], seed=5, step=7, options={"truncation": 0.5})
    expected = frechet_distance(statistics(by_hand(made)), statistics(by_hand(digits().image)))
    assert record.value == pytest.approx(expected, rel=1e-5)
    assert (record.generated_count, record.reference_count, record.seed, record.step) == (500, 1797, 5, 7)
    assert record.reference == digits().fingerprint()
    assert record.options == {"truncation": 0.5}
    assert record.features == "quarters"


def test_reals_are_those_before_the_mirror_and_a_fixed_choice_of_them():
    plain = evaluation.Evaluator(digits(), fake_features.quarters(), ["frechet"], reference=100)
    mirrored = evaluation.Evaluator(Mirrored(digits()), fake_features.quarters(), ["frechet"], reference=100)
    (one,), (other,) = (evaluator.score([images(50)], seed=0) for evaluator in (plain, mirrored))
    assert one == other
    assert one.reference_count == 100


def test_every_metric_and_every_number():
    evaluator = evaluation.Evaluator(digits(), fake_features.quarters(), [m for m in MEASURES if m != "modes"])
    records = {record.metric: record for record in evaluator.score([images(400)], seed=0)}
    assert set(records) == {name for name, (metric, _) in NUMBERS.items() if metric != "modes"}
    assert all(np.isfinite(record.value) for record in records.values())
    assert 0 < records["precision"].value <= 1
    same = {r.metric: r for r in evaluator.score([digits().image], seed=0)}
    for name, (_, more) in NUMBERS.items():  # the data itself is no worse than the data with noise
        if name in same and name not in ("inception_score", "density"):
            assert (same[name].value - records[name].value) * (1 if more else -1) >= 0, name


def test_what_cannot_be_measured_is_a_sentence():
    with pytest.raises(UserError, match="no metric 'fid': there are frechet, kernel"):
        evaluation.Evaluator(digits(), fake_features.quarters(), ["fid"])
    with pytest.raises(UserError, match=r"features are of images, not of samples of shape \(2,\)"):
        evaluation.Evaluator(gaussians(count=10), fake_features.quarters(), ["frechet"])
    evaluator = evaluation.Evaluator(digits(), fake_features.quarters(), ["modes"])
    with pytest.raises(UserError, match="a classifier of the data's 10 classes, and these features have 3"):
        evaluator.score([images(50)], seed=0)
    evaluator = evaluation.Evaluator(digits(), fake_features.quarters(), ["prdc"])
    with pytest.raises(UserError, match="generated"):
        evaluator.score([images(3)], seed=0)


# ---- during training


def test_a_run_measures_itself(measured):
    workdir, outcome = measured
    records = read(workdir / EVALUATIONS)
    assert [(record.metric, record.step) for record in records] == [("frechet", step) for step in (20, 40, 60)]
    for record in records:
        assert record.text() in outcome.err
    run = open_run(workdir, 60, ["fake_features"])
    again = evaluate(
        workdir, features=Call(QUARTERS), count=300, step=60, seed=run.config.seed, allow=["fake_features"]
    )
    assert again == records[-1:]  # and the file has no second line of it
    assert read(workdir / EVALUATIONS) == records


def test_the_run_s_page_shows_what_was_measured(measured):
    page = (measured[0] / "report.html").read_text()
    last = read(measured[0] / EVALUATIONS)[-1]
    assert "frechet over step" in page
    assert f"<td>{last.text().replace('&', '&amp;')}</td>" in page.replace("&#x27;", "'")


def test_the_best_checkpoint_stays(measured):
    workdir, _ = measured
    values = {record.step: record.value for record in read(workdir / EVALUATIONS)}
    best = min(values, key=lambda step: values[step])
    assert set(runs.checkpoints(workdir)) == {best, 60}
    assert open_run(workdir, "best", ["fake_features"]).step == best
    assert call("digest", workdir, "--step", "best", "--allow", "fake_features").code == 0


def test_measuring_moves_no_bits_and_a_stop_leaves_no_trace(config, measured, tmp_path):
    whole, outcome = measured
    plain = call("train", config, "steps=60", "--workdir", tmp_path / "plain")
    assert plain.digest == outcome.digest
    for steps in (30, 40, 60):
        last = call("train", config, *MEASURED, f"steps={steps}", "--workdir", tmp_path / "parts")
        assert last.code == 0, last.err
    assert last.digest == outcome.digest
    assert read(tmp_path / "parts" / EVALUATIONS) == read(whole / EVALUATIONS)
    assert runs.checkpoints(tmp_path / "parts") == runs.checkpoints(whole)


def test_the_best_of_a_directory(tmp_path):
    state = {"x": np.zeros(2)}
    for name, more, expected in (("a", False, 2), ("b", True, 3)):
        with Checkpoints(tmp_path / name, keep=1, best=("score", more)) as checkpoints:
            for step, score in enumerate([5.0, float("nan"), 1.0, 7.0, 3.0, None]):
                checkpoints.save(
                    step, {"x": state["x"] + step}, {"metrics": {} if score is None else {"score": score}}
                )
            checkpoints.wait()
            assert checkpoints.best() == expected
            assert checkpoints.steps() == [expected, 5]
    with Checkpoints(tmp_path / "a", keep=1) as checkpoints:
        assert checkpoints.best() is None


def test_numbers_measured_otherwise_are_not_compared(tmp_path):
    with Checkpoints(tmp_path, keep=1, best=("score", False)) as checkpoints:
        for step, (score, protocol) in enumerate([(1.0, "few"), (5.0, "many"), (4.0, "many"), (6.0, "many")]):
            record = {"metrics": {"score": score}, "protocol": protocol}
            checkpoints.save(step, {"x": np.full(2, step)}, record)
        checkpoints.wait()
        assert checkpoints.best() == 2
        assert checkpoints.steps() == [2, 3]


def test_the_protocol_is_all_but_the_number():
    def digest(reference=0, count=50, seed=0, scale=1.0, step=1):
        evaluator = evaluation.Evaluator(digits(), fake_features.quarters(scale), ["frechet"], reference)
        return measuring.protocol(evaluator.score([images(count)], seed=seed, step=step))

    assert digest() == digest(step=2)
    assert len({digest(), digest(reference=100), digest(count=60), digest(seed=1), digest(scale=2.0)}) == 5


def test_labels_are_shared_out_as_the_reals_are(tmp_path):
    """Of a set with 9 zeros in 10 images, generated labels are so too, and each draws the same samples again."""
    label = np.where(np.arange(200) % 10 == 0, 1, 0).astype(np.int32)
    source = Arrays("uneven", digits().image[:200], label, 2)
    evaluator = evaluation.Evaluator(source, fake_features.quarters(), ["frechet"])
    wanted = evaluator.wanted_labels(300)
    assert np.bincount(wanted[:200]).tolist() == [180, 20]
    np.testing.assert_array_equal(wanted[200:], wanted[:100])
    assert len(np.flatnonzero(wanted[:50])) > 0  # not sorted


def test_a_sampler_takes_labels():
    game = games.make(generator=Labelled())
    variables = {"params": {}}
    sampler = Sampler(game, 0, classes=3)
    given = np.array([2, 0, 1, 1, 2], np.int32)
    assert sampler(variables, 5)[:, 0].tolist() == [0, 1, 2, 0, 1]
    assert sampler(variables, 5, labels=given)[:, 0].tolist() == given.tolist()
    many = np.arange(600, dtype=np.int32)[::-1] % 3
    np.testing.assert_array_equal(sampler(variables, 600, first=7, labels=many)[:, 0], many)
    assert Sampler(game, 0, classes=3, labels=[2, 1])(variables, 3)[:, 0].tolist() == [2, 1, 2]


class Labelled:
    """Makes its own label, so that it can be read off."""

    def init(self, key, latents, label):
        return {"params": {}}

    def apply(self, variables, latents, label):
        return label.astype(np.float32)[:, None] + 0 * latents


def test_samples_that_are_not_finite_are_no_black_images():
    game = games.make(generator=Broken())
    with pytest.raises(UserError, match="samples are not finite: go back to an earlier --step"):
        list(evaluation.generated(Sampler(game, 0), {"params": {}}, 10))


class Broken:
    def init(self, key, latents):
        return {"params": {}}

    def apply(self, variables, latents):
        return latents / 0.0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["metrics.every=10", "metrics.features=inception"], ["FID needs the weights"]),
        (["metrics.every=10", "metrics.names=()"], ["metrics.names is empty"]),
        (["metrics.every=10", "metrics.count=1"], ["metrics.count must be at least 2"]),
        (["metrics.every=10", "metrics.names=(fid,)"], ["no metric 'fid'", "frechet"]),
        (["checkpoint.best=fid", "metrics.every=10"], ["checkpoint.best=fid is no number of a metric"]),
        (["checkpoint.best=frechet"], ["is never measured", "metrics.every"]),
        (["checkpoint.best=recall", "metrics.every=10"], ["is never measured", "prdc"]),
        (["metrics.every=10", "parallel.fuse=4"], ["no multiple of parallel.fuse=4"]),
    ],
)
def test_settings_that_cannot_be(config, tmp_path, overrides, words):
    for dry in ([], ["--dry-run"]):  # the same words, before anything is spent
        sentence(call("train", config, *overrides, *dry, "--workdir", tmp_path / "run"), *words)


# ---- afterwards


@pytest.fixture
def kept(measured, tmp_path):
    return shutil.copytree(measured[0], tmp_path / "kept")


def test_evaluate(kept):
    outcome = call(
        "evaluate", kept, "--metrics", "frechet,prdc", "--features", f"{QUARTERS}:scale=2.0", "--count", 200,
        "--seed", 3, "--reference", 500, "--allow", "fake_features",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines] == ["frechet", "precision", "recall", "density", "coverage"]
    assert all("200 generated vs 500 reals, seed 3, step 60" in line for line in lines)
    assert [record.text() for record in read(kept / EVALUATIONS)][-5:] == lines


def test_a_run_that_cannot_be_measured_has_lost_nothing(config, tmp_path):
    """Features that fail at the first measurement: the checkpoint of that step is there."""
    overrides = ["steps=20", "metrics.every=10", "metrics.features=fake_features:failing", "metrics.count=50"]
    sentence_of = call("train", config, *overrides, "--workdir", tmp_path / "run")
    assert sentence_of.code == 2
    assert "these features always fail" in sentence_of.err
    assert runs.checkpoints(tmp_path / "run") == [10]
    mended = [*overrides, f"metrics.features={QUARTERS}"]
    assert call("train", config, *mended, "--workdir", tmp_path / "run").code == 0
    assert [record.step for record in read(tmp_path / "run" / EVALUATIONS)] == [10, 20]


def test_records_of_steps_that_are_made_anew_are_dropped(measured, tmp_path):
    workdir = shutil.copytree(measured[0], tmp_path / "kept")
    before = read(workdir / EVALUATIONS)
    measuring.rewind(workdir, 40)
    assert read(workdir / EVALUATIONS) == before[:2]
    measuring.rewind(workdir, 0)
    assert read(workdir / EVALUATIONS) == []


def test_checkpoints_are_listed(kept):
    outcome = call("checkpoints", kept)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [line.split()[1] for line in lines] == [str(step) for step in runs.checkpoints(kept)]
    values = {record.step: record.value for record in read(kept / EVALUATIONS)}
    best = min(values, key=lambda step: values[step])
    for line in lines:
        step = int(line.split()[1])
        assert f"frechet {values[step]:.4g}" in line
        assert re.search(r"\d MB  .*verified", line)
        assert line.endswith("best") == (step == best)
    stored = next(path for path in (kept / "checkpoints" / "60").rglob("*") if path.stat().st_size > 1000)
    content = bytearray(stored.read_bytes())
    content[500] ^= 1
    stored.write_bytes(content)
    assert "NOT VERIFIED" in call("checkpoints", kept).out.splitlines()[-1]
    sentence(call("checkpoints", kept / "none"), "holds no run")


def test_evaluate_mistakes(kept, tmp_path):
    allowed = ["--allow", "fake_features"]
    sentence(call("evaluate", kept), "was read from a workdir", "--allow fake_features")
    sentence(call("evaluate", kept, "--features", "inceptoin"), "no 'inceptoin' in gan_jax.metrics", "inception")
    sentence(call("evaluate", kept, *allowed, "--metrics", "fid"), "no metric 'fid'")
    sentence(call("evaluate", kept, *allowed, "--count", 1), "--count must be at least 2")
    sentence(call("evaluate", kept, *allowed, "--split", "test"), "data.source.split")
    sentence(call("evaluate", kept, *allowed, "--reference", -1), "reference must be at least 1")
    sentence(call("evaluate", kept, *allowed, "--standing", -1), "--standing")
    sentence(call("evaluate", kept, *allowed, "--truncation", 0.5), "truncation=0.5", "leave it at 1.0")
    sentence(call("evaluate", kept, *allowed, "--step", "latest"), "--step wants a number or best, got 'latest'")
    sentence(call("evaluate", tmp_path / "none"), "holds no run")


def test_interpolation(kept, tmp_path):
    arguments = ["--count", 3, "--interpolate", 4, "--seed", 2, "--allow", "fake_features"]
    outcome = call("sample", kept, *arguments, "--out", tmp_path / "walk.png")
    assert outcome.code == 0, outcome.err
    run = open_run(kept, None, ["fake_features"])
    sampler = run.sampler(2)
    rows = sampler.between(run.state.ema, [0, 1, 2, 0], 4)
    assert rows.shape == (3, 4, 8, 8, 1)
    np.testing.assert_allclose(rows[:, 0], sampler(run.state.ema, 3), atol=1e-5)
    steps = np.abs(np.diff(np.concatenate([rows.reshape(12, -1), rows[0, 0].reshape(1, -1)]), axis=0)).max(axis=1)
    assert steps.min() > 0
    assert steps.max() < np.abs(rows[1, 0] - rows[0, 0]).max()  # no step as far as from one sample to the next
    with Image.open(tmp_path / "walk.png") as picture:
        assert (np.asarray(picture) == report.grid(rows.reshape(12, 8, 8, 1), columns=4)).all()
    (path,) = sample_run.interpolate(
        kept, count=3, steps=4, seed=2, allow=["fake_features"], out=tmp_path / "walk.gif"
    )
    with Image.open(path) as film:
        assert film.n_frames == 12


def test_neighbours_of_the_data_would_be_itself(kept, tmp_path):
    outcome = call(
        "sample", kept, "--count", 5, "--neighbours", 2, "--features", QUARTERS, "--allow", "fake_features",
        "--out", tmp_path / "near.png",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    run = open_run(kept, None, ["fake_features"])
    samples = pixels.to_uint8(run.sampler(0)(run.state.ema, 5))
    distances = ((by_hand(samples)[:, None] - by_hand(digits().image)[None]) ** 2).sum(-1)
    nearest = digits().image[distances.argsort(axis=1)[:, :2]]
    expected = np.concatenate([samples[:, None], nearest], axis=1).reshape(15, 8, 8, 1)
    with Image.open(tmp_path / "near.png") as picture:
        assert (np.asarray(picture) == report.grid(expected, columns=3)).all()


def test_sample_mistakes(kept, tmp_path):
    allowed = ["--allow", "fake_features"]
    sentence(call("sample", kept, *allowed, "--labels", "1,2"), "this run is not conditional")
    sentence(call("sample", kept, *allowed, "--interpolate", 1), "--interpolate must be at least 2")
    sentence(
        call("sample", kept, *allowed, "--interpolate", 4, "--out", tmp_path / "a.npz"), "is a .png or a .gif"
    )
    many = ["--neighbours", 2000, "--features", QUARTERS]
    sentence(call("sample", kept, *allowed, *many), "--neighbours 2000")
    sentence(call("sample", kept, *allowed, "--neighbours", 0), "--neighbours must be at least 1")
    sentence(call("sample", kept, *allowed, "--features", QUARTERS), "give both, or neither")


@pytest.mark.slow  # it trains the classifier; `metrics/test_classifier.py` has the channels by hand
@pytest.mark.timeout(180)
def test_stacked_sets_are_read_channel_by_channel():
    """Three channels of a set whose classes a classifier knows are a thousand modes that can be counted."""
    source = stacked(digits(), count=3000)
    extractor = evaluation.make_extractor(Call("classifier"), source)
    evaluator = evaluation.Evaluator(source, extractor, ["modes", "frechet"])
    assert extractor.name == "stacked classifier"
    rows = stacked(digits(), count=3000, seed=1).read(np.arange(3000))  # stacks that the reference doesn't hold
    found = {record.metric: record for record in evaluator.score([rows["image"]], seed=0)}
    assert found["modes"].options == {"classes": 1000}
    there = len(np.unique(rows["label"]))
    assert abs(found["modes"].value - there) < 30  # a digit in twenty may be misread
    assert found["modes_kl"].value < 0.5  # about 0.3 of it from 3 samples a mode on either side
    one = stacked(digits(), count=1).read(np.zeros(1, int))["image"]
    collapsed = {r.metric: r for r in evaluator.score([np.repeat(one, 500, axis=0)], seed=0)}
    assert collapsed["modes"].value == 1
    assert collapsed["modes_kl"].value == pytest.approx(np.log(1000), abs=1.0)
