"""A run that changes fields on the way: what is allowed, what is written down, and that the run stays exact."""

import json
import shutil

import numpy as np
import pytest

import runs
from gan_jax.checkpoint import Catalogue
from runs import call, write_config

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(120)]

SHORT = ["checkpoint.every=4", "sample.every=40", "sample.count=4", "log.every=4"]
LOWER = ["generator_optimizer.learning_rate=1e-4", "ema.half_life=500"]
ALLOW = ["--allow-change", "learning_rate,ema.half_life"]


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("config"), runs.MLP)


@pytest.fixture(scope="module")
def four(mlp, tmp_path_factory):
    """Returns the workdir of a run of 4 steps."""
    workdir = tmp_path_factory.mktemp("four") / "run"
    assert call("train", mlp, *SHORT, "steps=4", "--workdir", workdir).code == 0
    return workdir


def history(workdir):
    rows = [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]
    return [(row["step"], row["field"], row["before"], row["after"]) for row in rows]


CHANGED = [(4, "generator_optimizer.learning_rate", 2e-4, 1e-4), (4, "ema.half_life", 10000.0, 500.0)]


def test_a_change_is_allowed_by_name_and_written_down(mlp, four, tmp_path):
    workdir = shutil.copytree(four, tmp_path / "run")
    train = ["train", mlp, *SHORT, "--workdir", workdir]
    refused = call(*train, "steps=8", *LOWER)
    runs.sentence(refused, "or add --allow-change learning_rate,ema.half_life")
    assert not (workdir / "history.jsonl").exists()
    runs.sentence(call(*train, "steps=4", *LOWER, *ALLOW), "steps=4 adds none: raise steps")
    outcome = call(*train, "steps=6", *LOWER, *ALLOW)
    assert "changed at step 4: generator_optimizer.learning_rate 0.0002 -> 0.0001\n" in outcome.err
    assert history(workdir) == CHANGED
    # The checkpoint where the change was made knows it, so the option is not needed again.
    shutil.rmtree(workdir / "checkpoints" / "6")
    assert Catalogue(workdir / "checkpoints").manifest(4)["record"]["grid"]
    resumed = call(*train, "steps=8", *LOWER)
    assert resumed.code == 0, resumed.err
    assert "changed at" not in resumed.err
    assert history(workdir) == CHANGED
    assert "learning_rate" in (workdir / "report.html").read_text().split("Changes on the way")[1]
    again = shutil.copytree(four, tmp_path / "again")
    undisturbed = call("train", mlp, *SHORT, "steps=8", *LOWER, *ALLOW, "--workdir", again)
    assert undisturbed.digest == resumed.digest


def test_other_data(mlp, four, tmp_path):
    """More images, as the user says; without the option the sentence names it."""
    workdir = shutil.copytree(four, tmp_path / "run")
    np.savez(tmp_path / "more.npz", image=np.zeros((40, 8, 8, 1), np.uint8))
    train = ["train", mlp, *SHORT, "steps=8", "--workdir", workdir, "data.source=npz"]
    train += [f"data.source.path={tmp_path / 'more.npz'}"]
    runs.sentence(call(*train), "or add --allow-change data")
    outcome = call(*train, "--allow-change", "data")
    assert outcome.code == 0, outcome.err
    rows = history(workdir)
    assert [row[:2] for row in rows] == [(4, "data"), (4, "data.source"), (4, "data.source.path")]
    assert rows[1][2:] == ("digits", "npz")
    assert call(*train).code == 0


def test_what_would_break_the_state_is_refused(mlp, four, tmp_path):
    workdir = shutil.copytree(four, tmp_path / "run")
    train = ["train", mlp, *SHORT, "steps=8", "--workdir", workdir]
    runs.sentence(call(*train, "--allow-change", "batch"), "--allow-change takes no 'batch'")
    runs.sentence(call(*train, "--allow-change", "learning_rat"), "did you mean 'learning_rate'?")
    runs.sentence(call(*train, "batch=32", *ALLOW), "batch was 16 and is now 32; use another --workdir, or set")
    other = call(*train, "augment=ada", "--allow-change", "augment")
    runs.sentence(other, "has another configuration: state/augment")
    assert call("digest", workdir).out == call("digest", four).out


def test_every_nth_checkpoint_is_kept_for_good(mlp, four, tmp_path):
    """Also off the grid of `checkpoint.every`, and by a later start without the field."""
    workdir = shutil.copytree(four, tmp_path / "run")
    train = ["train", mlp, *SHORT, "checkpoint.keep=1", "--workdir", workdir]
    assert call(*train, "steps=14", "checkpoint.archive_every=6").code == 0
    assert runs.checkpoints(workdir) == [6, 12, 14]
    records = {step: Catalogue(workdir / "checkpoints").manifest(step)["record"] for step in (6, 12, 14)}
    assert [(step, record["grid"], record.get("archived")) for step, record in records.items()] == [
        (6, False, True), (12, True, True), (14, False, None),
    ]  # fmt: skip
    assert call(*train, "steps=16").code == 0
    assert runs.checkpoints(workdir) == [6, 12, 16]
    marked = [line.endswith("archived") for line in call("checkpoints", workdir).out.splitlines()]
    assert marked == [True, True, False]
