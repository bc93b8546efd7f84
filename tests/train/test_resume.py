"""Exact resume: a run that is stopped and started again ends with the same bits as an undisturbed run."""

import fcntl
import os
import re
import shutil
import signal
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

import runs
from gan_jax.checkpoint import Checkpoints
from gan_jax.data.loader import Loader
from gan_jax.runtime import placement
from runs import call, rows, spawn
from undisturbed import assert_undisturbed, pictures

pytestmark = [
    pytest.mark.usefixtures("programs"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="the test needs a pipe of a set size"),
]

# A kill must not change the results of these: both kinds of input, and fused steps.
WAYS = {
    "resident": ["data.resident=true"],
    "streamed": ["data.resident=false"],
    "fused": ["data.resident=true", "parallel.fuse=4"],
}
STEPS = 60


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Returns the config of a run with convolutions and batch norm."""
    return runs.write_config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def at_once(config, tmp_path_factory):
    """Returns a function from a way to the workdir and the outcome of an undisturbed run."""
    made = {}

    def get(way):
        if way not in made:
            workdir = tmp_path_factory.mktemp(way) / "run"
            made[way] = workdir, call("train", config, *WAYS[way], "--workdir", workdir)
            assert made[way][1].code == 0, made[way][1].err
        return made[way]

    return get


@pytest.fixture(scope="module")
def half(config, tmp_path_factory):
    """Returns the workdir of a run of 30 steps, which tests continue to 60."""
    workdir = tmp_path_factory.mktemp("half") / "run"
    assert call("train", config, *WAYS["resident"], "steps=30", "--workdir", workdir).code == 0
    return workdir


def test_the_reference_is_complete(at_once):
    """The run that others are compared with has a log row a step, and a grid and a checkpoint every ten steps."""
    workdir, outcome = at_once("resident")
    assert [row["step"] for row in rows(workdir)] == list(range(1, STEPS + 1))
    assert list(pictures(workdir)) == ["reals.png", *(f"step_{step:08d}.png" for step in range(0, STEPS + 1, 10))]
    assert len(set(pictures(workdir).values())) == 8  # it learns: no two grids are equal
    assert runs.checkpoints(workdir) == [10, 20, 30, 40, 50, 60]
    assert call("digest", workdir).out.strip() == outcome.digest
    assert len({call("digest", workdir, "--step", step).out for step in (50, 60)}) == 2


def test_streamed_and_resident_input_give_the_same_bits(at_once):
    reference, expected = at_once("resident")
    assert_undisturbed(*at_once("streamed"), reference, expected)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["fused", "resident", "streamed"])
def test_killed_and_started_again(way, config, at_once, tmp_path):
    reference, expected = at_once(way)
    workdir = tmp_path / "run"
    stopped = runs.stop(workdir, config, *WAYS[way], lines=29 if way != "fused" else 12, least=22)
    assert stopped.code == -signal.SIGKILL
    assert 22 <= stopped.step < STEPS
    assert "location.reload()" in (workdir / "report.html").read_text()  # it was killed in the middle of its work
    outcome = call("train", config, *WAYS[way], "--workdir", workdir)
    from_step = int(re.findall(r"^resuming at step (\d+)$", outcome.err, re.MULTILINE)[0])
    assert 10 <= from_step <= stopped.step  # the save of step 20 may not have ended
    assert_undisturbed(workdir, outcome, reference, expected)
    assert call("digest", workdir).out.strip() == expected.digest


def test_more_steps_later_are_the_steps_of_one_run(half, config, at_once, tmp_path):
    """`steps=30` and then `steps=60` gives `steps=60`: no schedule reads `steps`."""
    reference, expected = at_once("resident")
    workdir = shutil.copytree(half, tmp_path / "run")
    outcome = call("train", config, *WAYS["resident"], "--workdir", workdir)
    assert_undisturbed(workdir, outcome, reference, expected)


def test_a_stop_off_the_grid_of_pictures_leaves_none_behind(config, at_once, tmp_path):
    reference, expected = at_once("resident")
    workdir = tmp_path / "run"
    assert call("train", config, *WAYS["resident"], "steps=25", "--workdir", workdir).code == 0
    assert (workdir / "samples" / "step_00000025.png").exists()
    outcome = call("train", config, *WAYS["resident"], "--workdir", workdir)
    assert_undisturbed(workdir, outcome, reference, expected)


def test_a_config_that_was_lost_does_not_let_another_run_in(half, config, tmp_path):
    workdir = shutil.copytree(half, tmp_path / "run")
    (workdir / "config.json").unlink()
    outcome = call("train", config, *WAYS["resident"], "seed=5", "--workdir", workdir)
    runs.sentence(outcome, "this workdir holds another run", "seed was 0 and is now 5")


def test_fewer_steps_than_done_change_nothing(half, config, tmp_path):
    workdir = shutil.copytree(half, tmp_path / "run")
    kept = (workdir / "config.json").read_bytes()
    outcome = call("train", config, *WAYS["resident"], "steps=10", "--workdir", workdir)
    assert outcome.code == 0
    assert "at step 30 already" in outcome.err
    assert (workdir / "config.json").read_bytes() == kept


def test_other_versions_are_named(half, config, tmp_path, monkeypatch):
    """The old one and the new one of each package, and what this means for the results."""
    workdir, before = shutil.copytree(half, tmp_path / "run"), metadata.version
    changed = ["jax", "jaxlib", "flax", "optax", "numpy", "pillow", "gan_jax"]
    other = SimpleNamespace(version=lambda name: "9.9\n" if name in changed else before(name))
    monkeypatch.setattr(placement, "metadata", other)
    outcome = call("train", config, *WAYS["resident"], "steps=32", "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    versions = ", ".join(f"{name} {before(name)} -> 9.9\\n" for name in changed)
    said = f"resumed elsewhere ({versions}): results agree to rounding, not bit for bit"
    assert outcome.err.splitlines()[2:4] == [said, "resuming at step 30"]
    monkeypatch.undo()
    outcome = call("train", config, *WAYS["resident"], "steps=34", "--workdir", workdir)
    assert f"(jax 9.9\\n -> {before('jax')}, " in outcome.err


def test_free_fields_move_no_bits(half, config, at_once, tmp_path):
    """All fields that may change on resume, changed together."""
    workdir = shutil.copytree(half, tmp_path / "run")
    free = """data.resident=false data.workers=3 data.prefetch=5 log.every=7 log.tensorboard=true sample.every=9
        sample.count=5 sample.gif=true checkpoint.every=13 checkpoint.keep=1 parallel.devices=1
        parallel.mode=jit"""
    outcome = call("train", config, *free.split(), "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    assert outcome.digest == at_once("resident")[1].digest
    assert [row["step"] for row in rows(workdir)] == [*range(1, 31), 35, 42, 49, 56]
    assert runs.checkpoints(workdir) == [60]
    assert (workdir / "samples.gif").exists()
    assert list((workdir / "tensorboard").iterdir())


def test_the_log_averages_over_its_interval_across_a_stop(config, at_once, tmp_path):
    """The checkpoint has the sums since the last log row, so a stop inside an interval changes no row."""
    means = {row["step"]: row for row in rows(at_once("resident")[0])}
    workdir = tmp_path / "run"
    for steps in (14, 24):
        arguments = ["log.every=8", f"steps={steps}", "--workdir", workdir]
        assert call("train", config, *WAYS["resident"], *arguments).code == 0
    logged = rows(workdir)
    assert [row["step"] for row in logged] == [8, 16, 24]
    for row in logged:
        for name in row.keys() - {"step", "images"}:
            each = [means[step][name] for step in range(row["step"] - 7, row["step"] + 1)]
            assert row[name] == pytest.approx(sum(each) / 8, rel=1e-5, abs=1e-7), name


def test_a_finished_run_started_again_changes_nothing(at_once, config, tmp_path):
    reference, expected = at_once("resident")
    workdir = shutil.copytree(reference, tmp_path / "run")
    before = _states(workdir)
    outcome = call("train", config, *WAYS["resident"], "--workdir", workdir)
    assert_undisturbed(workdir, outcome, reference, expected)
    assert _states(workdir) == before
    shorter = call("train", config, *WAYS["resident"], "steps=20", "--workdir", workdir)
    assert_undisturbed(workdir, shorter, reference, expected)  # the later steps are not removed
    assert _states(workdir) == before


def _states(workdir: Path) -> dict[str, bytes]:
    """Returns the files of the checkpoints without the manifests, which contain `steps`."""
    found = runs.files(workdir / "checkpoints")
    return {name: content for name, content in found.items() if not name.endswith("manifest.json")}


def test_a_damaged_checkpoint_costs_its_interval_and_no_bits(at_once, config, tmp_path):
    reference, expected = at_once("resident")
    workdir = shutil.copytree(reference, tmp_path / "run")
    manifest = workdir / "checkpoints" / "60" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"step": 60', '"step": 61'))
    assert call("digest", workdir).code == 0  # of step 50, the newest good checkpoint
    outcome = call("train", config, *WAYS["resident"], "--workdir", workdir)
    assert "checkpoint 60 is passed over" in outcome.err
    assert "resuming at step 50" in outcome.err
    assert_undisturbed(workdir, outcome, reference, expected)


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_asked_to_stop(how, config, at_once, tmp_path):
    """The current step is the last one, the state is saved, and nothing is repeated or lost."""
    reference, expected = at_once("resident")
    workdir = tmp_path / "run"
    stopped = runs.stop(workdir, config, *WAYS["resident"], lines=29, least=22, how=how)
    assert stopped.code == 75, stopped.err
    told = re.search(
        rf"{how.name} came at step (\d+) of 60: all is saved, the same command goes on\n$", stopped.err
    )
    assert told, stopped.err
    assert "Traceback" not in stopped.err
    assert runs.checkpoints(workdir)[-1] == int(told[1])
    outcome = call("train", config, *WAYS["resident"], "--workdir", workdir)
    assert f"resuming at step {told[1]}\n" in outcome.err
    assert_undisturbed(workdir, outcome, reference, expected)


def test_asked_before_the_first_step(config, at_once, tmp_path, monkeypatch):
    """As in the first compilation: the state at step 0 is saved, and the exit code is the chosen one."""
    reference, expected = at_once("resident")
    workdir = tmp_path / "run"
    original = Loader.__enter__

    def signalled(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(self)

    monkeypatch.setattr(Loader, "__enter__", signalled)
    arguments = ["train", config, *WAYS["resident"], "--workdir", workdir]
    stopped = call(*arguments, "--preempt-exit-code", 99)
    assert stopped.code == 99
    assert "SIGTERM came at step 0 of 60: all is saved" in stopped.err
    monkeypatch.undo()
    assert runs.checkpoints(workdir) == [0]
    assert_undisturbed(workdir, call(*arguments), reference, expected)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_again_and_again(config, at_once, tmp_path):
    """Kills after every few steps, at no chosen step, the first before any checkpoint."""
    reference, expected = at_once("resident")
    arguments = [str(config), *WAYS["resident"], "checkpoint.every=4"]
    workdir = tmp_path / "run"
    logged = 1
    for lines in (6, 17, 17):
        logged = runs.stop(workdir, *arguments, lines=lines, least=logged + 1).step
    assert logged < STEPS
    outcome = spawn("train", *arguments, "--workdir", workdir)
    assert_undisturbed(workdir, outcome, reference, expected)
    with Checkpoints(workdir / "checkpoints", keep=10) as kept:
        assert [kept.verify(step) for step in kept.steps()] == [None] * 10
