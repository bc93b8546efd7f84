"""Whole runs: their files, their transfers, two devices, refused restarts that lose nothing, and NaN."""

import fcntl
import io
import re
import shutil

import jax
import numpy as np
import pytest
from jax._src.array import ArrayImpl

import gan_jax.train.loop
import gan_jax.train.workdir
import runs
from devices import run_json
from gan_jax import config as configs
from gan_jax.checkpoint import Checkpoints
from gan_jax.data.gaussians import centers
from gan_jax.metrics.modes import mode_coverage
from gan_jax.report.writer import Writer
from gan_jax.runtime.placement import Placement
from runs import call, sentence, spawn

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


# ---- the files of a run


def test_from_python(config, trained, tmp_path):
    """`train` gives the digest and the output of the command."""
    said = io.StringIO()
    wanted = configs.override(configs.load(config), ["steps=20", "log.tensorboard=true", "sample.gif=true"])
    digest = gan_jax.train.train(wanted, tmp_path / "run", stream=said)
    assert digest == call("digest", trained).out.strip()
    lines = said.getvalue().splitlines()
    assert lines[-1] == f"step 20, state digest {digest}"
    look = [line.strip() for line in lines[lines.index("look at:") + 1 : -1]]
    workdir = tmp_path / "run"
    wanted_files = ["samples/reals.png", "samples/step_00000020.png", "samples.gif", "report.html"]
    where = "each block of 3 x 2 samples is one class, from the top left, row by row"
    legend = f" ({where}: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)"
    assert look == [str(workdir / name) + (legend if "reals" in name else "") for name in wanted_files]
    assert lines[1].startswith("data: 1,797 images of 8x8x1; 10 classes (174 to 183 images each); conditional=fa")
    assert (
        f"Reals, as the networks see them. {legend[2].upper()}{legend[3:-1]}<"
        in (workdir / "report.html").read_text()
    )
    assert all((workdir / name).stat().st_size > 0 for name in wanted_files)
    assert list((workdir / "tensorboard").iterdir())
    assert gan_jax.train.workdir.read_config(workdir) == wanted


def test_no_steps_at_all(config, tmp_path):
    outcome = call("train", config, "steps=0", "--workdir", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert call("digest", tmp_path / "run").out.strip() == outcome.digest
    assert list(runs.files(tmp_path / "run" / "samples")) == ["reals.png", "step_00000000.png"]


@pytest.mark.slow
def test_modes_of_a_mixture_are_counted_on_the_way(tmp_path):
    """Each sample grid reports the modes of 10,000 other samples."""
    source = 'Call("gaussians", count=1000, sigma=0.5)'
    text = runs.TINY.replace('Call("digits")', source).replace('"dcgan", width=8', '"mlp", width=8')
    text = text.replace('Call("mlp", width=8),\n        discr', 'Call("mlp", width=8, tanh=False),\n        discr')
    outcome = call("train", runs.write_config(tmp_path, text), "steps=20", "--workdir", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    said = re.findall(r"^step (\d+): (\d+) of 25 modes, ([\d.]+)% of samples", outcome.err, re.MULTILINE)
    assert [step for step, *_ in said] == ["10", "20"]
    out = tmp_path / "samples.npz"
    assert call("sample", tmp_path / "run", "--count", 10_009, "--out", out).code == 0
    with np.load(out, allow_pickle=False) as arrays:
        modes = mode_coverage(arrays["image"][9:], centers("grid"), 0.5)
    assert int(said[-1][1]) == modes.found
    assert float(said[-1][2]) == pytest.approx(100 * modes.share, abs=0.1)
    assert 0 < modes.found < 25


# ---- the steady loop


@pytest.fixture
def fetches(monkeypatch):
    """A list that grows by one for each transfer of an array to the host, by any Python call that does so."""
    counted = []
    value = ArrayImpl._value
    monkeypatch.setattr(
        ArrayImpl, "_value", property(lambda self: (counted.append(self.shape), value.fget(self))[1])
    )
    for name in ("asarray", "array"):  # on a CPU these read the array's memory directly
        plain = getattr(np, name)

        def count(x, *arguments, plain=plain, **keywords):
            counted.extend([x.shape] if isinstance(x, jax.Array) else [])
            return plain(x, *arguments, **keywords)

        monkeypatch.setattr(np, name, count)
    return counted


@pytest.mark.parametrize("way", ["data.resident=false", "parallel.fuse=2"])
def test_the_loop_moves_a_batch_in_and_a_line_of_the_log_out(way, config, tmp_path, monkeypatch, fetches):
    """Between two saves a step transfers only its batch to the device, and a log line one array to the host."""
    batches, lines = [], []
    put, write = Placement.put_batch, Writer.write

    def put_batch(self, batch, axis):
        with jax.transfer_guard_host_to_device("allow"):
            batches.append(batch)
            return put(self, batch, axis)

    def written(self, step, values):
        lines.append((step, len(fetches)))
        write(self, step, values)

    def strictly(applies):
        return jax.transfer_guard_host_to_device("disallow_explicit" if applies else "allow")

    monkeypatch.setattr(Placement, "put_batch", put_batch)
    monkeypatch.setattr(Writer, "write", written)
    monkeypatch.setattr(gan_jax.train.loop, "_only_the_batch_is_sent", strictly)
    every = ["log.every=4", "sample.every=100", "checkpoint.every=100"]
    outcome = call("train", config, "steps=24", *every, way, "--workdir", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert len(batches) == (12 if "fuse" in way else 24)
    assert [step for step, _ in lines] == [4, 8, 12, 16, 20, 24]
    counts = [count for _, count in lines]
    assert np.diff(counts).tolist() == [1] * 5


def test_a_transfer_in_the_loop_is_an_error():
    x = jax.device_put(np.ones(3, np.float32))
    double = jax.jit(lambda x, y: x + y)
    with gan_jax.train.loop._only_the_batch_is_sent(False):
        double(x, np.ones(3, np.float32))
    with gan_jax.train.loop._only_the_batch_is_sent(True):
        double(x, jax.device_put(np.ones(3, np.float32)))
        with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
            double(x, np.ones(3, np.float32))


# ---- on two devices


TWO = """
import json, sys
from pathlib import Path
import runs

config, folder, mode = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

def train(name, *overrides):
    return runs.call("train", config, f"parallel.mode={mode}", *overrides, "--workdir", folder / name)

whole, half, rest = train("whole", "steps=20"), train("parts", "steps=10"), train("parts", "steps=20")
assert (whole.code, half.code, rest.code) == (0, 0, 0), (whole.err, half.err, rest.err)
assert runs.rows(folder / "whole") == runs.rows(folder / "parts")
assert runs.files(folder / "whole" / "samples") == runs.files(folder / "parts" / "samples")
on_one = runs.call("digest", folder / "parts")
print(json.dumps([whole.digest, rest.digest, on_one.out.strip(), rest.err]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["shard", "pmap"])
def test_a_run_on_two_devices_repeats_and_resumes(mode, config, tmp_path):
    arguments = ["", str(config), str(tmp_path), mode]
    program = f"import sys; sys.argv[:] = {arguments!r}\n{TWO}"
    whole, parts, on_disk, said = run_json(program, devices=2)
    assert whole == parts == on_disk
    assert "resuming at step 10" in said
    assert "elsewhere" not in said
    if mode == "shard":  # on another number of devices it goes on, and prints what that means
        arguments = ["steps=24", "parallel.mode=jit", "--workdir", tmp_path / "parts"]
        elsewhere = call("train", config, *arguments)
        assert elsewhere.code == 0, elsewhere.err
        assert "resumed elsewhere (devices 2 -> 1, mode shard -> jit" in elsewhere.err
        assert "results agree to rounding" in elsewhere.err
        assert [row["step"] for row in runs.rows(tmp_path / "parts")] == list(range(1, 25))


# ---- mistakes of the user on resume: the run stays unchanged


def test_another_batch_is_another_run(config, kept):
    outcome = call("train", config, "batch=32", "generator.width=4", "steps=40", "--workdir", kept)
    sentence(outcome, "batch was 16 and is now 32", "generator.width was 8 and is now 4", "another --workdir")


@pytest.mark.parametrize(
    "overrides",
    [["stesp=40"], ["steps=30", "parallel.fuse=4"], ["sample.truncation=0.5"], ["parallel.devices=64"]],
)
def test_a_mistake_on_resume_loses_nothing(overrides, config, kept):
    sentence(call("train", config, "log.every=7", *overrides, "--workdir", kept))


def test_other_data_under_the_same_name(tmp_path):
    """The config is the same, but the data file was replaced."""
    image = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "set.npz", image=image)
    source = f"""Call("npz", path={str(tmp_path / "set.npz")!r})"""
    path = runs.write_config(tmp_path, runs.TINY.replace('Call("digits")', f"{source}, resident=False"))
    assert call("train", path, "steps=4", "--workdir", tmp_path / "run").code == 0
    before = runs.files(tmp_path / "run")
    np.savez(tmp_path / "set.npz", image=255 - image)
    sentence(call("train", path, "steps=8", "--workdir", tmp_path / "run"), "not those that this run began with")
    assert runs.files(tmp_path / "run") == before


def test_a_second_run_in_the_same_workdir(config, kept):
    with open(kept / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = call("train", config, "steps=40", "--workdir", kept)
    sentence(outcome, f"another run is training in {kept}")


def test_no_checkpoint_that_can_be_used(config, trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    for manifest in workdir.glob("checkpoints/*/manifest.json"):
        manifest.write_text(manifest.read_text()[:-20])
    before = runs.files(workdir)
    for command in (["train", config, "steps=40", "--workdir", workdir], ["digest", workdir], ["sample", workdir]):
        sentence(call(*command), "cannot be" if command[0] != "train" else "no checkpoint", "manifest.json")
    assert runs.files(workdir) == before


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_batch_that_three_devices_cannot_share(config, kept):
    flags = "--xla_force_host_platform_device_count=3"
    outcome = spawn("train", config, "steps=30", "--workdir", kept, XLA_FLAGS=flags)
    sentence(outcome, "batch=16 can't be divided over 3 devices", "multiple of 3", "parallel.devices")


# ---- values that are not finite


def diverging(tmp_path):
    """Returns a config that trains well for 12 steps of 16 images, and then with a learning rate of 1e30."""
    rate = 'Call("sgd", learning_rate=Call("linear", start=0.01, end=1e30, images=1, delay=192))'
    text = runs.TINY.replace("log=Log", f"generator_optimizer={rate},\n        log=Log")
    return runs.write_config(tmp_path, text)


@pytest.mark.parametrize("log_every", [1, 50])
def test_a_loss_that_is_not_finite(log_every, tmp_path):
    """A run notices it at the next log line or checkpoint, whichever comes first."""
    workdir = tmp_path / "run"
    arguments = ["checkpoint.every=5", f"log.every={log_every}", "--workdir", workdir]
    outcome = call("train", diverging(tmp_path), *arguments)
    assert outcome.code == 3
    last = outcome.err.splitlines()[-1]
    found = re.match(r"gan-jax: (\S+) is not finite at step (\d+); the last good checkpoint is step (\d+): ", last)
    assert found, last
    metric, step, good = found[1], int(found[2]), int(found[3])
    assert metric in {"grad_norm/generator", "grad_norm/discriminator", "logits/fake", "loss/discriminator"}
    assert 13 <= step <= 15
    assert good == 10
    assert "Traceback" not in outcome.err
    assert runs.checkpoints(workdir) == [5, 10]
    with Checkpoints(workdir / "checkpoints", keep=10) as checkpoints:
        assert [checkpoints.verify(step) for step in (5, 10)] == [None, None]
    if log_every == 1:  # JSON has no NaN: the log line has null
        row = runs.rows(workdir)[-1]
        assert (row["step"], row[metric]) == (step, None)
    assert call("digest", workdir).code == 0
    if log_every == 50:  # started again, it fails in the same way
        assert call("train", diverging(tmp_path), *arguments).err.splitlines()[-1] == last
