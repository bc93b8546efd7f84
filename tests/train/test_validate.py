"""What is said before training."""

import dataclasses
import re

import numpy as np
import pytest

import runs
from gan_jax.config import Config, override
from gan_jax.config.declared import Declared
from gan_jax.data.arrays import Arrays
from gan_jax.train.validate import notes


def data(counts):
    label = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    names = ("circle", "square", "triangle")
    return Declared.of(Arrays("a", np.zeros((len(label), 4, 4, 3), np.uint8), label, len(counts), None, names))


def test_classes_that_are_odd():
    lines = notes(Config("a", conditional=True), data([150, 150, 3]))
    assert lines[0] == "data: 303 images of 4x4x3; 3 classes: circle 150, square 150, triangle 3"
    assert [line.partition(", and")[0] for line in lines[1:]] == ["note: class triangle has 3 images"]
    # Networks that do not see the classes miss nothing.
    [line] = notes(Config("a"), data([150, 150, 3]))
    assert line == f"{lines[0]}; conditional=false: the networks do not see the classes"


@pytest.mark.parametrize(
    ("overrides", "rounded"),
    [
        ([], ""),
        (["parallel.fuse=20"], "log.every=50"),
        (["parallel.fuse=20", "checkpoint.every=130", "sample.every=90"],
         "log.every=50, sample.every=90, checkpoint.every=130"),
        (["parallel.fuse=20", "log.every=40", "checkpoint.every=1010"], ""),  # after the last step
        (["parallel.fuse=20", "log.every=40", "checkpoint.every=1010", "steps=2000"], "checkpoint.every=1010"),
    ],
)  # fmt: skip
def test_fused_steps_round_the_intervals(overrides, rounded):
    config = dataclasses.replace(override(Config("a"), overrides), conditional=True)
    found = [line for line in notes(config, data([50, 50, 50])) if "fuse" in line]
    start = "note: parallel.fuse=20 makes 20 steps at a time, so what is due in between comes after them: "
    assert found == ([start + rounded] if rounded else [])


@pytest.mark.parametrize(("steps", "said"), [(49, True), (50, False)])
def test_a_run_that_ends_before_its_first_line(steps, said):
    lines = notes(override(Config("a"), [f"steps={steps}"]), data([50, 50, 50]))
    line = "note: log.every=50 is more than steps=49, so metrics.jsonl gets no line: set log.every"
    assert lines[1:] == [line] * said


def test_the_losses_of_a_run_without_a_line(tmp_path):
    """The note before training, the words after it, and that one device splits nothing."""
    config, workdir = runs.write_config(tmp_path, runs.MLP), tmp_path / "run"
    words = ("train", config, "steps=4", "log.every=50", "parallel.params=sharded", "--workdir", workdir)
    outcome = runs.call(*words)
    assert outcome.code == 0, outcome.err
    assert "note: log.every=50 is more than steps=4, so metrics.jsonl gets no line" in outcome.err
    assert "note: parallel.params=sharded splits nothing on one device" in outcome.err
    assert re.search(r"^step 4: loss G \S+ D \S+ over all steps$", outcome.err, re.MULTILINE)
    # A later line, at a rarer interval, is of the steps since the line before it.
    runs.call("train", config, "steps=6", "log.every=6", "--workdir", workdir)
    outcome = runs.call("train", config, "steps=8", "log.every=50", "--workdir", workdir)
    assert re.search(r"^step 8: loss G \S+ D \S+ since the last line$", outcome.err, re.MULTILINE)
