"""What is said before training."""

import dataclasses

import numpy as np
import pytest

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


@pytest.mark.parametrize(("mode", "said"), [("jit", True), ("shard", False)])
def test_one_device_has_nothing_to_split(mode, said):
    fields = [f"parallel.mode={mode}", "parallel.params=sharded"]
    lines = notes(override(Config("a"), fields), data([50, 50, 50]))
    line = "note: parallel.params=sharded splits nothing on the one device of parallel.mode=jit"
    assert lines[1:] == [line] * said
