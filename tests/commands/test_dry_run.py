"""`gan-jax train --dry-run`: it describes what would be trained, and refuses what training refuses."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import runs
from gan_jax.targets import gpus
from runs import call, sentence

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Returns the config of a run with convolutions."""
    return runs.write_config(tmp_path_factory.mktemp("config"))


MLP = ["generator=mlp", "discriminator=mlp", "generator.width=8", "discriminator.width=8"]  # compiles fast


def total(text: str, player: str) -> int:
    """Parameters of a player by the last line of its table."""
    table = re.split(rf"^{player} +shape +parameters$", text, flags=re.MULTILINE)[1].split("\n\n")[0]
    return int(table.splitlines()[-1].split()[-1].replace(",", ""))


def count(workdir, player: str) -> int:
    """Parameters of a player in a checkpoint."""
    shapes = json.loads((workdir / "checkpoints" / "20" / "manifest.json").read_text())["shapes"]
    sizes = [
        np.prod([int(size) for size in shape.partition("[")[2].rstrip("]").split(",") if size])
        for name, shape in shapes.items()
        if name.startswith(f"state/{player}/params/")
    ]
    assert sizes
    return int(sum(sizes))


def test_dry_run(config, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = call("train", config, "--dry-run", "steps=20")
    assert outcome.code == 0, outcome.err
    for player in ("generator", "discriminator"):
        assert total(outcome.out, player) == count(trained, player)
    assert re.search("^steps = 20 +# Length of the training", outcome.out, re.MULTILINE)
    assert "data: 1,797 images of 8x8x1; 10 classes (174 to 183 images each)" in outcome.out
    assert "memory of a step: " in outcome.out
    assert not list(tmp_path.iterdir())  # it writes nothing


def test_dry_run_counts_floating_point_operations(config):
    """Of fully connected networks of P parameters a pass forward is 2 P a sample, and each way back as much.

    The discriminator's turn: forward on reals and fakes, back to its parameters, and back through it but for the
    first layer. The generator's: forward, through the discriminator forward and back, back to its parameters.
    """
    networks = [f"{player}.{field}" for player in ("generator", "discriminator") for field in ("width=256",)]
    overrides = ["generator=mlp", "discriminator=mlp", *networks, "batch=64"]
    out = call("train", config, *overrides, "--dry-run").out
    found = re.search(r"^a step: ([\d.]+) MFLOP, ([\d.]+) MFLOP an image \(counted by XLA", out, re.MULTILINE)
    assert found, out
    step, image = float(found[1]), float(found[2])
    assert image * 64 == pytest.approx(step, rel=0.01)
    generator, discriminator = total(out, "generator"), total(out, "discriminator")
    least, most = 2 * (6 * discriminator + 2 * generator), 2 * (10 * discriminator + 4 * generator)
    assert least < image * 1e6 < most


def test_dry_run_of_what_cannot_run(config):
    sentence(call("train", config, "data.source.size=22", "--dry-run"), "dcgan can't make images")
    clips = ["data.source=moving_digits", "data.source.size=44"]
    sentence(
        call("train", config, *clips, "--dry-run"),
        "dcgan can't make video or volumes of 16 x 44 x 44: resize the data, as with data.source.size=40 or 48.",
    )


@pytest.mark.slow
def test_dry_run_of_clips(config):
    widths = ["generator.width=2", "discriminator.width=2"]
    source = ["data.source=moving_digits", "data.source.size=16", "data.source.frames=12"]
    outcome = call("train", config, *widths, *source, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "data: 10,000 samples of 12x16x16x1; no classes" in outcome.out
    # 6 x 4 x 4, 6 x 8 x 8, 12 x 16 x 16: the first stage does not double the frames.
    for row in (r"project/kernel +8x384 ", r"up_1/kernel +3x4x4x4x2 ", r"image/kernel +4x4x4x2x1 "):
        assert re.search(row, outcome.out), outcome.out


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["steps=30", "parallel.fuse=4"], ["steps=30 is not a multiple", "set steps=28 or 32, or"]),
        (["steps=3", "parallel.fuse=4"], ["set steps=4, or"]),
        (["metrics.every=10", "metrics.names=fid"], ["no metric 'fid': there are frechet"]),
        (["checkpoint.best=frechet"], ["checkpoint.best=frechet is never measured: set metrics.every"]),
        (["metrics.every=3", "steps=20", "parallel.fuse=2"], ["metrics.every=3 is not a multiple"]),
    ],
)  # fmt: skip
def test_dry_run_refuses_what_training_refuses(overrides, words, config, tmp_path):
    dry, real = (
        call("train", config, *overrides, *options) for options in (["--dry-run"], ["--workdir", tmp_path / "run"])
    )
    sentence(dry, *words)
    assert dry == real


def test_a_batch_above_the_set_is_noted(config, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(10):
        Image.fromarray(np.full((8, 8), 20 * index, np.uint8)).save(folder / f"{index}.png")
    overrides = ["data.source=folder", f"data.source.path={folder}", "batch=16", *MLP]
    note = "note: batch=16 is larger than the data set of 10: a batch contains each image 1.6 times, on average\n"
    dry = call("train", config, *overrides, "--dry-run")
    assert dry.code == 0, dry.err
    assert note in dry.out
    real = call("train", config, *overrides, "steps=1", "--workdir", tmp_path / "run")
    assert real.code == 0, real.err
    assert real.err.count(note) == 1
    assert "note:" not in call("train", config, *overrides, "batch=10", "--dry-run").out


def test_dry_run_without_the_data(config):
    """Shape and classes are those of the config."""
    source = ["data.source=folder", "data.source.path=nowhere", "data.source.size=8", "data.source.channels=1"]
    out = call("train", config, *MLP, *source, "--dry-run").out
    assert "data: images of 8x8x1; no classes; the data are not here" in out
    assert "memory of a step: " in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dry-run", "--target", "h300"], "there is no target 'h300': there are h200, h100,"),
        (["--target", "h200"], "--target needs --dry-run"),
        (["--dry-run", "--json", "facts.json"], "--json needs --target"),
        (["--dry-run", "--quick"], "--quick needs --target"),
    ],
)
def test_targets_that_are_refused(words, message, config):
    sentence(call("train", config, *words), message)


def test_a_target_without_its_compiler(config, monkeypatch):
    monkeypatch.setattr(gpus, "installed", lambda *_: False)
    sentence(call("train", config, "--dry-run", "--target", "h200"), "pip install 'gan_jax[target-gpu]'")
