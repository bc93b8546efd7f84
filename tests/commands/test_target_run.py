"""`gan-jax train --dry-run --target`, with a compiler that only counts, and with the real ones."""

import json

import numpy as np
import pytest

from gan_jax import config as configs
from gan_jax.commands import target_run
from gan_jax.config.declared import Declared
from gan_jax.targets import Chip, DoesNotFitError, Memory, Target, gpus, report, tpus
from runs import spawn

CHIP = Chip("toy", 100.0, 1.0, {"bf16": 1.0, "tf32": 1.0, "float32": 1.0}, "")
DATA = Declared((8, 8, 1), np.dtype(np.uint8), 10, None)


class Fits:
    """A program that takes 10 bytes for the state and 5 for each sample of a microbatch on a device."""

    def __init__(self, config, devices):
        self.samples = config.batch // devices // config.microbatches
        self.memory = Memory(10, 0, 5 * self.samples, 10 + 5 * self.samples)
        self.fits = self.memory.needed <= CHIP.memory


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize(
    ("batch", "microbatches", "devices", "fewest", "most"),
    [(256, 1, 4, 4, 16), (128, 1, 8, None, None), (96, 1, 1, 6, 16), (256, 2, 1, 16, 32), (52, 1, 2, 2, 13)],
)
def test_what_fits(batch, microbatches, devices, fewest, most, raises, monkeypatch):
    """18 samples fit: the fewest microbatches, and the largest batch per device."""
    compiled = []

    def compile_for(config, data, target):
        program = Fits(config, devices)
        compiled.append((config.batch, config.microbatches))
        if raises and not program.fits:
            raise DoesNotFitError("too large", program.memory.needed)
        return program

    monkeypatch.setattr(target_run, "compile_for", compile_for)
    config = configs.Config("toy", batch=batch, microbatches=microbatches)
    target = Target("toy", "cuda", CHIP, [None] * devices, {})
    first = Fits(config, devices)
    if fewest is None:
        assert first.fits
        return
    found = target_run.search(config, DATA, target, first.memory.state, first.memory.needed)
    assert found == {"microbatches": fewest, "batch_per_device": most}
    assert len(compiled) == len(set(compiled)) <= 8


def test_nothing_fits():
    facts = {"target": "toy", "devices": 1, "fit": {"microbatches": None, "batch_per_device": None}}
    assert list(target_run.fitting(facts)) == ["  what fits: nothing: take more devices or a smaller model"]
    facts["fit"] = {"microbatches": 4, "batch_per_device": 16}
    assert list(target_run.fitting(facts | {"devices": 8})) == [
        "  what fits: microbatches=4 or a batch of 16 per device (batch=128)"
    ]


@pytest.mark.parametrize(
    ("fields", "devices", "words"),
    [
        ([], 8, []),
        (["parallel.devices=8"], 8, []),
        (["parallel.devices=4"], 8, ["parallel.devices=4 is not used: target toy has 8 devices"]),
        (["parallel.mode=jit"], 8, ["parallel.mode=jit is not used"]),
        (["parallel.mode=jit"], 1, []),
        (["parallel.params=sharded"], 1, ["splits nothing on one device: target toy"]),
        (["parallel.params=sharded"], 8, []),
    ],
)
def test_other_devices_than_those_of_the_config_are_said(fields, devices, words):
    config = configs.override(configs.Config("toy"), fields)
    lines = list(target_run._other_devices(config, Target("toy", "cuda", CHIP, [None] * devices, {})))
    assert len(lines) == bool(words)
    assert all(word in lines[0] for word in words)


@pytest.mark.parametrize(("platform", "needed", "says"), [
    ("cuda", 75, "fits in"), ("cuda", 76, "XLA_PYTHON_CLIENT_MEM_FRACTION"), ("tpu", 76, "fits in"),
    ("tpu", 101, "does not fit"),
])  # fmt: skip
def test_what_jax_takes_of_the_memory(platform, needed, says):
    """Three quarters of a GPU's, unless a variable says otherwise, and all of a TPU's."""
    target = Target("toy", platform, CHIP, [None], {})
    said = report._fits(report.memory(Memory(1, 1, 1, needed), target))
    assert says in said
    assert ("XLA_PYTHON" in said) == ("XLA_PYTHON" in says)


@pytest.mark.programs
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["h200:2", "v5e:2x2"])
def test_the_step_of_a_run(name, tmp_path):
    module = gpus if name.startswith("h") else tpus
    if not module.installed(*(gpus._PLUGINS if module is gpus else ("libtpu",))):
        pytest.skip("the compiler is not installed")
    words = ["cifar10_dcgan", "parallel.fuse=2", "parallel.params=sharded", "precision=bfloat16"]
    outcome = spawn("train", *words, "--dry-run", "--target", name, "--json", tmp_path / "facts.json", timeout=800)
    assert outcome.code == 0, outcome.err
    about = json.loads((tmp_path / "facts.json").read_text())
    assert about["fields"]["parallel"]["params"] == "sharded"
    assert {"jax", "libtpu" if module is tpus else "jax-cuda12-plugin"} <= set(about["versions"])
    facts = about["targets"][0]
    assert facts["memory"]["fits"]
    assert facts["flops"]["program_of_model"] == pytest.approx(1, abs=0.05)
    assert "all-gather" in facts["collectives"]  # of the parameters
    assert facts["devices"] == (2 if module is gpus else 4)


@pytest.mark.programs
@pytest.mark.timeout(600)
@pytest.mark.skipif(not tpus.installed("libtpu"), reason="the compiler for TPUs is not installed")
def test_less_effort_is_said(tmp_path):
    """The compiler moves less into the fast memory ahead of time."""
    facts = []
    for option in ((), ("--quick",)):
        outcome = spawn(
            "train", "digits", "--dry-run", "--target", "v5e:2x2", "--json", tmp_path / "facts.json", *option,
            timeout=500,
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        assert ("less effort" in outcome.out) == bool(option)
        facts += json.loads((tmp_path / "facts.json").read_text())["targets"]
    full, quick = facts
    assert (full["options"], quick["options"]) == ({}, {"optimization_level": 19})
    for name in ("model_step", "program_step"):
        assert quick["flops"][name] == pytest.approx(full["flops"][name])
    assert quick["bytes"] > full["bytes"]
