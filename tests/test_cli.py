"""The command line itself: its help, its commands, and what it imports."""

import importlib
import os
import subprocess
import sys

import pytest

from devices import ROOT, run_json
from gan_jax import cli
from runs import call, sentence

pytestmark = pytest.mark.timeout(180)


def test_help_and_no_command(capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/a/100%/folder")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "kept in /a/100%/folder/gan_jax/xla. GAN_JAX_CACHE=" in text
    assert "GAN_JAX_CACHE=off keeps none" in text
    with pytest.raises(SystemExit) as stopped:
        call()
    assert stopped.value.code == 2


QUICK = ("train", "sample")
HELP = [
    pytest.param([name, "--help"], marks=[] if name in QUICK else pytest.mark.slow, id=name)
    for name in cli.COMMANDS
]


@pytest.mark.parametrize("words", [["--help"], *HELP], ids=" ".join)
def test_help_does_not_import_jax(words):
    """It takes most of a second."""
    modules = run_json(f"""
import contextlib, io, json, sys
from gan_jax import cli
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    cli.main({words!r})
assert out.getvalue().startswith("usage: gan-jax")
print(json.dumps(sorted(sys.modules)))
""")
    assert not {"jax", "numpy", "flax", "orbax"} & set(modules)


def test_every_command_is_a_module_with_arguments_and_run():
    for name in cli.COMMANDS:
        module = importlib.import_module(f"gan_jax.commands.{name}")
        assert callable(module.add_arguments), name
        assert callable(module.run), name


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ([], "COMMAND (one of train, sample, "),
        (["train"], "config (a recipe (see gan-jax recipes), or a Python file with get_config())"),
        (["train", "--workdir", "runs/a"], "config (a recipe (see gan-jax recipes), "),
        (["init"], "config (the file to write, such as my_photos.py; "),
        (["sample"], "workdir (the folder of the run)"),
    ],
)
def test_what_is_missing_is_named(words, missing, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    start = f"{' '.join(['gan-jax', *words[:1]])}: error: the following arguments are required: "
    assert last.startswith(start + missing)


def test_modules_in_the_current_folder_are_found(tmp_path):
    """As with `python -m gan_jax`: a config may name functions of its own. Installed packages go first."""
    (tmp_path / "my_parts.py").write_text("value = 3\n")
    (tmp_path / "json.py").write_text("raise RuntimeError\n")
    program = "from gan_jax.cli import main; main(['recipes']); import json, my_parts; print(my_parts.value)"
    command = [sys.executable, "-P", "-c", program]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1:] == ["3"], done.stderr


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        (["--steps", "100"], "has no option --steps: fields of the config have no dashes, set steps=100"),
        (["seed=1", "--data.source.size=64"], "set data.source.size=64"),
        (
            ["--lr", "1e-4"],
            "--lr: set generator_optimizer.learning_rate=1e-4 and discriminator",
        ),
        (["--d_lr=3"], "--d_lr: set discriminator_optimizer.learning_rate=3"),
        (["--size", "64"], "--size: set data.source.size=64"),
        (["--batch-size=8"], "--batch-size: set batch=8"),
        (["--gpus", "4", "seed=1"], "set parallel.devices=4, which counts them"),
        (["--conditional"], "set conditional=VALUE"),
        (["--outdir", "runs/a"], "--outdir: give --workdir runs/a"),
    ],
)
def test_options_of_other_programs_have_a_way_out(words, way_out):
    sentence(call("train", "digits", *words), way_out)


def test_windows_gets_one_sentence():
    """Nothing that only POSIX systems have is needed to say so."""
    said = run_json("""
import contextlib, io, json, os, signal, sys
sys.platform = "win32"
sys.modules["fcntl"] = None
del signal.SIGHUP, os.O_NOFOLLOW, os.O_DIRECTORY, os.O_NONBLOCK, os.getuid
from gan_jax import cli
with contextlib.redirect_stderr(io.StringIO()) as err:
    code = cli.main(["train", "digits"])
print(json.dumps([code, err.getvalue()]))
""")
    assert said[0] == 2
    assert said[1].startswith("gan-jax: gan_jax runs on Linux, not on Windows itself: ")
    assert said[1].count("\n") == 1
