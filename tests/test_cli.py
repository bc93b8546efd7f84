"""The command line: what it prints, and how it says what the user can mend: one line, code 2, nothing lost."""

import json
import re
import shutil
import sys
import time
import types

import numpy as np
import pytest
from PIL import Image

import runs
from gan_jax import cli, report
from gan_jax.checkpoint.manifest import read_manifest, write_manifest
from gan_jax.commands import sample as sample_run
from gan_jax.data import tfds_layout as layout
from runs import call, sentence, spawn

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


MLP = ["generator=mlp", "discriminator=mlp", "generator.width=8", "discriminator.width=8"]  # compiles fast


# ---- what the user can mend, in a run that doesn't exist yet


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
        (["steps=30", "parallel.fuse=4"], ["steps=30 is no multiple of parallel.fuse=4"]),
        (["microbatches=3"], ["3 does not divide 16"]),
        (["parallel.devices=64"], ["parallel.devices=64, but there are"]),
        (["data.source.size=20", "generator.base=6"], ["dcgan makes square images", "not 20", ".size=32"]),
        (["data.source.size=22"], ["dcgan makes square images", "not 22"]),
        (["data.source=gaussians"], ["dcgan needs square images", "(2,)", "use mlp"]),
        (["sample.truncation=0.7"], ["truncation=0.7", "leave it at 1.0"]),
        (["data.source=folder", "data.source.path=/does/not/exist"], ["there is no folder '/does/not/exist'"]),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_trained(overrides, words, config, tmp_path):
    workdir = tmp_path / "run"
    sentence(call("train", config, *overrides, "--workdir", workdir), *words)
    # The mistake is not kept: the mended command isn't refused for being another run.
    assert not (workdir / "config.json").exists()


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


# ---- what is asked of a run


def test_asking_about_no_run(tmp_path):
    (tmp_path / "file").write_text("")
    for command in ("digest", "sample"):
        sentence(call(command, tmp_path), f"{tmp_path} holds no run")
        sentence(call(command, tmp_path / "file"), "holds no run")


def test_asking_for_what_a_run_has_not(kept, tmp_path):
    sentence(call("digest", kept, "--step", 15), "no checkpoint of step 15", "10, 20")
    sentence(call("sample", kept, "--count", 0), "--count must be at least 1")
    sentence(call("sample", kept, "--truncation", 0.5), "truncation=0.5", "leave it at 1.0")
    (tmp_path / "file").write_text("")
    sentence(call("sample", kept, "--count", 5, "--out", tmp_path / "file" / "a.png"), "can't write to")


@pytest.mark.parametrize("command", ["digest", "sample"])
def test_a_name_from_outside_in_a_workdir_is_not_imported(command, trained, tmp_path, monkeypatch):
    """A workdir may come from anyone. Its names are code only where the user says so."""
    workdir = shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "strange_code.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
        "from gan_jax.models.dcgan import Generator\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = workdir / "config.json"
    saved = json.loads(path.read_text())
    saved["generator"]["call"] = "strange_code:Generator"
    path.write_text(json.dumps(saved))
    arguments = [command, workdir, *(["--count", 5] if command == "sample" else [])]
    sentence(call(*arguments), "'strange_code:Generator' was read from a workdir", "--allow strange_code")
    assert not (tmp_path / "ran").exists()
    allowed = call(*arguments, "--allow", "strange_code")
    assert allowed.code == 0, allowed.err
    sys.modules.pop("strange_code")
    assert (tmp_path / "ran").exists()


# ---- what it prints


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
    assert "\nsteps = 20\n" in outcome.out
    assert "data: 1,797 samples of shape (8, 8, 1), 10 classes" in outcome.out
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
    found = re.search(r"^a step: ([\d.]+) MFLOP, ([\d.]+) MFLOP an image$", out, re.MULTILINE)
    assert found, out
    step, image = float(found[1]), float(found[2])
    assert image * 64 == pytest.approx(step, rel=0.01)
    generator, discriminator = total(out, "generator"), total(out, "discriminator")
    least, most = 2 * (6 * discriminator + 2 * generator), 2 * (10 * discriminator + 4 * generator)
    assert least < image * 1e6 < most


def test_dry_run_of_what_cannot_run(config):
    sentence(call("train", config, "data.source.size=22", "--dry-run"), "dcgan makes square images")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["steps=30", "parallel.fuse=4"], ["steps=30 is no multiple", "say steps=28 or 32, or set parallel.fuse"]),
        (["steps=3", "parallel.fuse=4"], ["say steps=4, or"]),
        (["metrics.every=10", "metrics.names=fid"], ["no metric 'fid': there are frechet"]),
        (["checkpoint.best=frechet"], ["checkpoint.best=frechet is never measured: set metrics.every"]),
        (["metrics.every=3", "steps=20", "parallel.fuse=2"], ["metrics.every=3 is no multiple"]),
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
    note = "note: batch=16 is larger than the set of 10: each image comes 1.6 times a batch, on average\n"
    dry = call("train", config, *overrides, "--dry-run")
    assert dry.code == 0, dry.err
    assert note in dry.out
    real = call("train", config, *overrides, "steps=1", "--workdir", tmp_path / "run")
    assert real.code == 0, real.err
    assert real.err.count(note) == 1
    assert "note:" not in call("train", config, *overrides, "batch=10", "--dry-run").out


def test_a_ready_set_is_told_once(monkeypatch, tmp_path):
    copy = layout.Copy(tmp_path / "set" / "1.0.0", None, "1.0.0", ("array_record",))
    monkeypatch.setattr(layout, "find_copies", lambda name, data_dir: [copy])
    assert call("prepare", "set").out == f"set is ready in {copy.path}\n"


def test_samples_of_another_ending(trained, tmp_path):
    sentence(call("sample", trained, "--out", tmp_path / "out.jpg"), ".jpg", "a .png or .npz file, or a folder")
    assert not list(tmp_path.iterdir())
    (tmp_path / "v1.0").mkdir()  # one that is there is meant
    assert call("sample", trained, "--count", 1, "--out", tmp_path / "v1.0").out == f"{tmp_path}/v1.0/00000.png\n"


def test_samples_are_drawn_in_the_run_s_own_precision(trained, tmp_path, monkeypatch):
    """What `tf32` asks of a platform reaches the program that draws them."""
    traced = []

    def with_precision(precision, function):
        traced.append(precision)
        return function

    monkeypatch.setattr(
        "gan_jax.runtime.precision.matmul_precision", lambda config, platform: f"{config.tf32} on {platform}"
    )
    monkeypatch.setattr("gan_jax.runtime.sampler.traced_with", with_precision)
    sample_run.sample(trained, count=2, out=tmp_path / "a.png")
    assert traced == ["True on cpu"]


def test_sample(trained, tmp_path):
    def sample(*arguments):
        outcome = call("sample", trained, "--count", 5, *arguments)
        assert outcome.code == 0, outcome.err
        return outcome.out.split()

    (grid,) = sample("--out", tmp_path / "grid.png")
    (stored,) = sample("--out", tmp_path / "some.npz")
    single = sample("--out", tmp_path / "images")
    with np.load(stored, allow_pickle=False) as arrays:
        images = arrays["image"]
    assert (images.shape, images.dtype) == ((5, 8, 8, 1), np.uint8)
    assert [path.rsplit("/", 1)[1] for path in single] == [f"{i:05d}.png" for i in range(5)]
    assert sorted(map(str, (tmp_path / "images").iterdir())) == single
    for path, image in zip(single, images):
        with Image.open(path) as read:
            assert (np.asarray(read) == image[..., 0]).all()
    with Image.open(grid) as read:
        assert (np.asarray(read) == report.grid(images)).all()

    def arrays_of(*arguments):
        (path,) = sample("--out", tmp_path / "again.npz", *arguments)
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["image"]

    assert (arrays_of("--seed", 0) == images).all()
    assert (arrays_of("--seed", 1) != images).any(axis=(1, 2, 3)).all()
    assert (arrays_of("--step", 10) != images).any(axis=(1, 2, 3)).all()
    (default,) = sample()
    assert default == str(trained / "samples_00000020.png")
    (trained / "samples_00000020.png").unlink()


def test_the_time_is_up(config, trained, tmp_path, monkeypatch):
    """The chunk in flight is the last; all is saved, and the same command ends as if it had never stopped."""
    workdir, clock = tmp_path / "run", iter([0.0, 1.0, 2.0, 99.0])
    monkeypatch.setattr("gan_jax.train.loop.time", types.SimpleNamespace(monotonic=lambda: next(clock)))
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


def test_doctor():
    outcome = call("doctor")
    assert outcome.code == 0, outcome.err
    assert re.search(r"^devices   \d+ x \S+", outcome.out, re.MULTILINE)
    import jax

    assert re.search(rf"^jax +{re.escape(jax.__version__)}$", outcome.out, re.MULTILINE)


def test_help_and_no_command(capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/a/100%/folder")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    assert "kept in /a/100%/folder/gan_jax/xla; GAN_JAX_CACHE=off" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit) as stopped:
        call()
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: record.pop("sample"), "its record has no sample"),
        (lambda record: record.update(data=3), "its record has no data"),
        (lambda record: record["sample"].update(dtype="evil"), "its record says nothing of its samples"),
    ],
)
def test_a_checkpoint_that_no_run_left(change, words, trained, tmp_path):
    """Whole by its manifest, and still not what `train` writes."""
    workdir = shutil.copytree(trained, tmp_path / "run")
    for path in (workdir / "checkpoints").iterdir():
        manifest = read_manifest(path)
        change(manifest["record"])
        write_manifest(path, manifest)
    sentence(call("digest", workdir), "of no run of gan-jax train", words)


def test_a_config_of_wrong_types_in_a_workdir(trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    for name, value in (("batch", "x"), ("generator", "dcgan"), ("checkpoint", {"keep": "no"})):
        (workdir / "config.json").write_text(json.dumps({**config, name: value}))
        sentence(call("digest", workdir), name)
    (workdir / "config.json").write_text("[" * 100_000)
    sentence(call("digest", workdir), "is not a JSON file")
