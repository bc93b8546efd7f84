"""Commands that read a workdir: what a run has not, and workdirs that gan_jax did not write."""

import json
import shutil
import sys

import pytest

from gan_jax.checkpoint.manifest import read_manifest, write_manifest
from runs import call, sentence

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


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
        "from gan_jax.models.mlp import Generator\n"
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: record.pop("sample"), "its record has no sample"),
        (lambda record: record.update(data=3), "its record has no data"),
        (lambda record: record["sample"].update(dtype="evil"), "its record does not describe its samples"),
        (lambda record: record.update(rate="evil"), "`rate` in its record is not a rate"),
    ],
)
def test_a_checkpoint_that_no_run_left(change, words, trained, tmp_path):
    """Whole by its manifest, and still not what `train` writes."""
    workdir = shutil.copytree(trained, tmp_path / "run")
    for path in (workdir / "checkpoints").iterdir():
        manifest = read_manifest(path)
        change(manifest["record"])
        write_manifest(path, manifest)
    sentence(call("digest", workdir), "gan-jax train did not write this checkpoint", words)


def test_a_config_of_wrong_types_in_a_workdir(trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    for name, value in (("batch", "x"), ("generator", "dcgan"), ("checkpoint", {"keep": "no"})):
        (workdir / "config.json").write_text(json.dumps({**config, name: value}))
        sentence(call("digest", workdir), name)
    (workdir / "config.json").write_text("[" * 100_000)
    sentence(call("digest", workdir), "is not a JSON file")
