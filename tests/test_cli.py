"""The command line itself: its help, its commands, and what it imports."""

import importlib
import os
import subprocess
import sys

import pytest

from devices import ROOT, run_json
from gan_jax import cli
from runs import call

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


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in cli.COMMANDS)], ids=" ".join)
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
