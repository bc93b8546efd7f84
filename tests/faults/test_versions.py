"""Workdirs of other versions: one of the version before opens, one of a later version is refused."""

import json
import shutil
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import runs
from gan_jax.checkpoint import Checkpoints
from gan_jax.checkpoint.manifest import MANIFEST, NewerFormatError, read_manifest, write_manifest
from gan_jax.train.layout import FORMAT
from runs import call, sentence

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(120)]
OLD = Path(__file__).parent / "workdirs" / "gan_jax_0.1.0.zip"  # it has no workdir.json
OLD_DIGEST = "76a23d61c539881a61be5c0c05a7d138"
STATE = {"w": np.arange(4.0)}
VERSION = metadata.version("gan_jax")


@pytest.fixture
def old(tmp_path):
    """A workdir that gan_jax wrote before workdirs had a format, and its config."""
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "run"


def test_a_workdir_of_the_version_before_opens(old):
    assert call("digest", old) == (0, f"{OLD_DIGEST}\n", "")
    assert "  verified" in call("checkpoints", old).out
    assert call("sample", old, "--count", 4).code == 0
    outcome = call("train", OLD.with_suffix(".py"), "steps=6", "--workdir", old)
    assert outcome.code == 0, outcome.err
    assert "resuming at step 4\n" in outcome.err
    assert [row["step"] for row in runs.rows(old)] == [1, 2, 3, 4, 5, 6]
    assert json.loads((old / "workdir.json").read_text()) == {"format": FORMAT, "gan_jax": VERSION}
    assert len((old / "evaluations.jsonl").read_text().splitlines()) == 1


def commands(config, workdir):
    yield call("train", config, "steps=40", "--workdir", workdir)
    for name in ("sample", "digest"):
        yield call(name, workdir)


@pytest.mark.parametrize("step", [pytest.param(10, marks=pytest.mark.slow), 20])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "changed"])
def test_a_checkpoint_of_a_later_version_is_not_passed_over(step, whole, config, trained, tmp_path):
    """It is the newest one or an older one, with or without a check that this version understands."""
    workdir = Path(shutil.copytree(trained, tmp_path / "run"))
    home = workdir / "checkpoints" / str(step)
    manifest = read_manifest(home)
    manifest["record"]["environment"]["gan_jax"] = "9.8.7"
    if whole:
        write_manifest(home, {**manifest, "format": 2, "new": {"field": 1}})
    else:
        (home / MANIFEST).write_text(json.dumps({**manifest, "format": 2, "state": ["a", "list"]}))
    before = runs.files(workdir)
    for outcome in commands(config, workdir):
        sentence(outcome, f"{home} has format 2, which gan_jax 9.8.7 wrote", f"this is gan_jax {VERSION}")
    listed = call("checkpoints", workdir)
    assert listed.code == 0
    assert "NOT VERIFIED" in next(line for line in listed.out.splitlines() if line.startswith(f"step {step} "))
    assert runs.files(workdir) == before


@pytest.mark.parametrize("flipped", [3, *(pytest.param(bit, marks=pytest.mark.slow) for bit in (5, 9))])
def test_a_flipped_bit_in_the_format_is_damage(flipped, trained, config, tmp_path):
    workdir = Path(shutil.copytree(trained, tmp_path / "run"))
    file = workdir / "checkpoints" / "20" / MANIFEST
    file.write_text(file.read_text().replace('"format": 1', f'"format": {flipped}'))
    outcome = call("train", config, "steps=20", "--workdir", workdir)
    assert outcome.code == 0
    assert "checkpoint 20 is passed over: its manifest.json was changed" in outcome.err


def test_a_save_does_not_replace_a_checkpoint_of_a_later_version(tmp_path):
    with Checkpoints(tmp_path / "run") as checkpoints:
        checkpoints.save(1, STATE, {})
    write_manifest(tmp_path / "run" / "1", {**read_manifest(tmp_path / "run" / "1"), "format": 2})
    before = runs.files(tmp_path)
    with Checkpoints(tmp_path / "run") as checkpoints:
        checkpoints.save(1, STATE, {"other": 1})
        with pytest.raises(NewerFormatError, match="has format 2"):
            checkpoints.wait()
    assert runs.files(tmp_path) == before


def test_a_workdir_of_a_later_version_is_refused(config, trained, tmp_path):
    workdir = Path(shutil.copytree(trained, tmp_path / "run"))
    (workdir / "workdir.json").write_text(json.dumps({"format": FORMAT + 1, "gan_jax": "9.8.7"}))
    before = runs.files(workdir)
    for outcome in [*commands(config, workdir), call("checkpoints", workdir)]:
        sentence(outcome, f"has the workdir format {FORMAT + 1}", f"gan_jax {VERSION}", "gan_jax 9.8.7")
    assert runs.files(workdir) == before


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "1"}', '{"format": -1}', '{"format": true}', '{"format": 1e9}']
)
def test_a_damaged_format_is_one_sentence(text, trained, tmp_path):
    workdir = Path(shutil.copytree(trained, tmp_path / "run"))
    (workdir / "workdir.json").write_text(text)
    sentence(call("digest", workdir), "workdir.json", "restore it, or remove it")


def test_a_field_of_a_later_version_names_both(trained, tmp_path):
    workdir = Path(shutil.copytree(trained, tmp_path / "run"))
    tree = json.loads((workdir / "config.json").read_text())
    (workdir / "config.json").write_text(json.dumps({**tree, "new_field": 1}))
    (workdir / "workdir.json").write_text(json.dumps({"format": FORMAT, "gan_jax": "9.8.7"}))
    sentence(call("digest", workdir), "new_field", f"gan_jax 9.8.7 wrote it, and this is gan_jax {VERSION}")
