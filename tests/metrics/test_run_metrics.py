"""Metrics of runs: measured in training and afterwards, exact on resume, and the best checkpoint by them."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

import fake_features
import runs
from gan_jax import pixels, report
from gan_jax.checkpoint import Checkpoints
from gan_jax.commands import sample_figures
from gan_jax.commands.evaluate_run import evaluate
from gan_jax.config import Call
from gan_jax.data.digits import digits
from gan_jax.metrics.record import EVALUATIONS, read, readable
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
    """A run with metrics at steps 20, 40 and 60."""
    workdir = tmp_path_factory.mktemp("measured") / "run"
    outcome = call("train", config, *MEASURED, "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    return workdir, outcome


# ---- during training


def test_a_run_measures_itself(measured):
    workdir, outcome = measured
    records = read(workdir / EVALUATIONS).rows
    assert [(record.metric, record.step) for record in records] == [("frechet", step) for step in (20, 40, 60)]
    for record in records:
        assert record.text() in outcome.err
    run = open_run(workdir, 60, ["fake_features"])
    again = evaluate(
        workdir, features=Call(QUARTERS), count=300, step=60, seed=run.config.seed, allow=["fake_features"]
    )
    assert again == records[-1:]  # and the file doesn't repeat it
    assert read(workdir / EVALUATIONS).rows == records


def test_the_run_s_page_shows_what_was_measured(measured):
    page = (measured[0] / "report.html").read_text()
    last = read(measured[0] / EVALUATIONS).rows[-1]
    assert "frechet over step" in page
    assert f"<td>{last.text().replace('&', '&amp;')}</td>" in page.replace("&#x27;", "'")


def test_the_best_checkpoint_stays(measured):
    workdir, _ = measured
    values = {record.step: record.value for record in read(workdir / EVALUATIONS).rows}
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


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["metrics.every=10", "metrics.features=inception"], ["FID needs the weights"]),
        (["metrics.every=10", "metrics.names=()"], ["metrics.names is empty"]),
        (["metrics.every=10", "metrics.count=1"], ["metrics.count must be at least 2"]),
        (["metrics.every=10", "metrics.names=(fid,)"], ["no metric 'fid'", "frechet"]),
        (
            ["checkpoint.best=fid", "metrics.every=10"],
            ["checkpoint.best=fid is not the name of a number"],
        ),
        (["checkpoint.best=frechet"], ["is never measured", "metrics.every"]),
        (["checkpoint.best=recall", "metrics.every=10"], ["is never measured", "prdc"]),
        (["metrics.every=10", "parallel.fuse=4"], ["not a multiple of parallel.fuse=4"]),
    ],
)
def test_settings_that_cannot_be(config, tmp_path, overrides, words):
    for dry in ([], ["--dry-run"]):  # a dry run says the same
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
    numbers, facts = outcome.out.split("\n\n")
    records = read(kept / EVALUATIONS).rows[-5:]
    assert [line.split()[:2] for line in numbers.splitlines()] == [[r.metric, readable(r.value)] for r in records]
    assert [r.metric for r in records] == ["frechet", "precision", "recall", "density", "coverage"]
    assert {line.split()[0]: line.split(maxsplit=1)[1] for line in facts.splitlines()[:3]} == {
        "generated": "200 images of step 60, seed 3",
        "reference": f"500 images, {digits().fingerprint()}",
        "features": "quarters, weights 0000002.00000000, not resized",
    }
    assert max(map(len, outcome.out.splitlines())) < 100


def test_a_run_that_cannot_be_measured_has_lost_nothing(config, tmp_path):
    """If the features fail at the first measurement, the checkpoint of that step is kept."""
    overrides = ["steps=20", "metrics.every=10", "metrics.features=fake_features:failing", "metrics.count=50"]
    sentence_of = call("train", config, *overrides, "--workdir", tmp_path / "run")
    assert sentence_of.code == 2
    assert "these features always fail" in sentence_of.err
    assert runs.checkpoints(tmp_path / "run") == [10]
    mended = [*overrides, f"metrics.features={QUARTERS}"]
    assert call("train", config, *mended, "--workdir", tmp_path / "run").code == 0
    assert [record.step for record in read(tmp_path / "run" / EVALUATIONS).rows] == [10, 20]


def test_records_of_steps_that_are_made_anew_are_dropped(measured, tmp_path):
    workdir = shutil.copytree(measured[0], tmp_path / "kept")
    before = read(workdir / EVALUATIONS).rows
    measuring.rewind(workdir, 40)
    assert read(workdir / EVALUATIONS).rows == before[:2]
    measuring.rewind(workdir, 0)
    assert read(workdir / EVALUATIONS).rows == []


def test_checkpoints_are_listed(kept):
    outcome = call("checkpoints", kept)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [line.split()[1] for line in lines] == [str(step) for step in runs.checkpoints(kept)]
    values = {record.step: record.value for record in read(kept / EVALUATIONS).rows}
    best = min(values, key=lambda step: values[step])
    for line in lines:
        step = int(line.split()[1])
        assert f"frechet {readable(values[step])}" in line
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


# ---- samples


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
    assert steps.max() < np.abs(rows[1, 0] - rows[0, 0]).max()  # no jump to the next sample
    with Image.open(tmp_path / "walk.png") as grid:
        assert (np.asarray(grid) == report.grid(rows.reshape(12, 8, 8, 1), columns=4)).all()
    (path,) = sample_figures.interpolate(
        kept, count=3, steps=4, seed=2, allow=["fake_features"], out=tmp_path / "walk.gif"
    )
    with Image.open(path) as gif:
        assert gif.n_frames == 12


def test_neighbours_of_the_data_would_be_itself(kept, tmp_path):
    outcome = call(
        "sample", kept, "--count", 5, "--neighbours", 2, "--features", QUARTERS, "--allow", "fake_features",
        "--out", tmp_path / "near.png",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    run = open_run(kept, None, ["fake_features"])
    samples = pixels.to_uint8(run.sampler(0)(run.state.ema, 5))
    distances = ((fake_features.by_hand(samples)[:, None] - fake_features.by_hand(digits().image)[None]) ** 2).sum(
        -1
    )
    nearest = digits().image[distances.argsort(axis=1)[:, :2]]
    expected = np.concatenate([samples[:, None], nearest], axis=1).reshape(15, 8, 8, 1)
    with Image.open(tmp_path / "near.png") as grid:
        assert (np.asarray(grid) == report.grid(expected, columns=3)).all()


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
