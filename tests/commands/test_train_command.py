"""`gan-jax train`: what the user can correct gets one sentence and code 2; overrides, the time limit."""

import re
import time
import types

import numpy as np
import pytest
from PIL import Image

import runs
from gan_jax import cli
from runs import call, sentence, spawn

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Returns the config of a run with convolutions."""
    return runs.write_config(tmp_path_factory.mktemp("config"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["stesp=20"], ["unknown field 'stesp'", "'steps'"]),
        (["generator.widht=4"], ["generator.widht", "'generator.width'"]),
        (["steps=many"], ["steps wants an int, got 'many'"]),
        (["steps"], ["the override 'steps' is not of the form field=value"]),
        (["batch=0"], ["batch must be at least 1"]),
        (["data.workers=0"], ["data.workers must be at least 1"]),
        (["data.prefetch=0"], ["data.prefetch must be at least 1"]),
        (["loss=hindge"], ["no 'hindge' in gan_jax.losses", "'hinge'"]),
        (["generator=dcgam"], ["no 'dcgam' in gan_jax.models", "'dcgan'"]),
        (["data.source=digit"], ["no 'digit' in gan_jax.data", "'digits'"]),
        (["generator=nowhere.at_all:Generator"], ["cannot import 'nowhere.at_all'"]),
        (["steps=30", "parallel.fuse=4"], ["steps=30 is not a multiple of parallel.fuse=4"]),
        (["microbatches=3"], ["3 does not divide 16"]),
        (["parallel.devices=64"], ["parallel.devices=64, but there are"]),
        (["data.source.size=20", "generator.base=6"], ["can't make images of 20 pixels", ".size=24"]),
        (["data.source.size=22"], ["dcgan can't make images", "of 22 pixels"]),
        (["data.source=gaussians"], ["dcgan needs images", "(2,)", "use mlp"]),
        (["sample.truncation=0.7"], ["truncation=0.7", "leave it at 1.0"]),
        (["data.source=folder", "data.source.path=/does/not/exist"], ["there is no folder '/does/not/exist'"]),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_trained(overrides, words, config, tmp_path):
    workdir = tmp_path / "run"
    sentence(call("train", config, *overrides, "--workdir", workdir), *words)
    # The mistake is not kept: the mended command isn't refused for being another run.
    assert not (workdir / "config.json").exists()


@pytest.mark.slow
def test_a_tfds_set_that_is_not_there(config, tmp_path):
    """A process of its own, an empty TFDS folder; the answer may not wait for the network."""
    began = time.monotonic()
    arguments = ["data.source=tfds", "data.source.name=cifar10", "--workdir", tmp_path / "run"]
    outcome = spawn("train", config, *arguments, TFDS_DATA_DIR=str(tmp_path / "tfds"))
    assert time.monotonic() - began < 30
    sentence(outcome, "'cifar10' is not in", str(tmp_path / "tfds"), "gan-jax prepare cifar10")
    sentence(outcome, "data.source.name", "TFDS_DATA_DIR")


def test_a_folder_with_broken_images(config, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(20):
        Image.fromarray(np.full((8, 8), 10 * index, np.uint8)).save(folder / f"{index:02}.png")
    (folder / "07.png").write_bytes((folder / "07.png").read_bytes()[:50])
    (folder / "11.png").write_text("no picture at all")
    overrides = ["data.source=folder", f"data.source.path={folder}"]
    workdir = tmp_path / "run"
    outcome = call("train", config, *overrides, "--workdir", workdir)
    sentence(outcome, "2 of the 20 images", str(folder), "07.png", "11.png", "remove or replace them")
    # Only opened before: then the run meets it, and names the file then. Streamed, and read whole.
    for name in ("07.png", "11.png"):
        (folder / name).unlink()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "late.bmp")
    (folder / "late.bmp").write_bytes((folder / "late.bmp").read_bytes()[:-20])
    for resident in ("false", "true"):
        lazy = [*overrides, "data.source.check=header", f"data.resident={resident}", f"name={resident}"]
        outcome = call("train", config, *lazy, "batch=8", "--workdir", tmp_path / resident)
        assert outcome.code == 2
        assert re.search(r"^gan-jax: .*'\S*/late\.bmp' cannot be read", outcome.err, re.MULTILINE)
        assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def get_config(:\n", ["line 1", "SyntaxError"]),
        ("x = 1\n\ndef get_config():\n    return Confg()\n", ["line 4", "NameError", "Confg"]),
        ("import nowhere_at_all\n", ["line 1", "nowhere_at_all"]),
        ("config = 3\n", ["no function get_config()"]),
    ],
)
def test_a_config_file_with_a_mistake(text, words, tmp_path):
    path = runs.write_config(tmp_path, text, "mine.py")
    sentence(call("train", path, "--workdir", tmp_path / "run"), str(path), *words)


def test_a_config_file_that_is_not_there(config, tmp_path):
    sentence(call("train", config.with_name("tinny.py"), "--workdir", tmp_path / "run"), "tinny.py", str(config))


def test_a_workdir_that_cannot_be_written(config, tmp_path):
    (tmp_path / "file").write_text("mine")
    for workdir in (tmp_path / "file", tmp_path / "file" / "below"):
        sentence(call("train", config, "--workdir", workdir), f"can't write to the workdir {workdir}")
    assert (tmp_path / "file").read_text() == "mine"


def test_overrides_may_stand_after_options(config, tmp_path):
    sentence(call("train", config, "--workdir", tmp_path / "run", "steps=30", "parallel.fuse=4"), "steps=30")
    with pytest.raises(SystemExit) as stopped:
        call("train", config, "steps=30", "--wrokdir", tmp_path)
    assert stopped.value.code == 2


def test_the_time_is_up(config, trained, tmp_path, monkeypatch):
    """The chunk in flight is the last; all is saved, and the same command ends as if it had never stopped."""
    workdir, clock = tmp_path / "run", iter([0.0, 1.0, 2.0, 99.0])
    for module in ("start", "loop"):
        monkeypatch.setattr(f"gan_jax.train.{module}.time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr("gan_jax.runtime.startup_timings.process_age", lambda: 0.0)
    stopped = call("train", config, "steps=20", "--workdir", workdir, "--max-time", "50s")
    assert stopped.code == 75, stopped.err
    assert "the time is up at step 3 of 20: all is saved, the same command goes on" in stopped.err
    assert runs.checkpoints(workdir) == [3]
    monkeypatch.undo()
    whole = call("train", config, "steps=20", "--workdir", workdir)
    assert whole.code == 0, whole.err
    assert runs.rows(workdir) == runs.rows(trained)
    assert whole.digest == call("digest", trained).out.strip()
    once = call("train", config, "steps=20", "--workdir", tmp_path / "again", "--max-time", "0")
    assert once.code == 75
    assert runs.checkpoints(tmp_path / "again") == [1]  # it gets somewhere


@pytest.mark.parametrize("text", ["soon", "nan", "-5", "", "5d"])
def test_no_time(config, text, capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", str(config), "--max-time", text])
    assert "wants a time such as 90s, 55m or 8h" in capsys.readouterr().err
