"""Faults of disks and data: one sentence names each, and the repaired run ends like an undisturbed one.

These tests use the command line. The parts have tests of their own: `test_checkpoints.py` (damage to each file, a
kill at every access to the disk, a state that is not finite), `test_data_loader.py`, and for a damaged manifest, a
workdir that cannot be made and a run without a good checkpoint `test_resume.py`, `test_cli.py` and `test_loop.py`.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest

import gan_jax.checkpoint.checkpoints
import runs
from gan_jax.checkpoint import Checkpoints
from gan_jax.checkpoint.manifest import read_manifest
from gan_jax.data.digits import digits
from gan_jax.data.order import Order
from gan_jax.errors import UserError
from gan_jax.pytree import parse_description
from runs import call, spawn

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(120)]

TEXT = runs.TINY.replace('"dcgan", width=8', '"mlp", width=64').replace("steps=60", "steps=30")
FILES = 60_000  # a limit on the bytes of a file, below the largest file of a checkpoint


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return runs.write_config(tmp_path_factory.mktemp("config"), TEXT)


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    outcome = call("train", config, "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    return workdir, outcome


@pytest.fixture
def workdir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def ends_undisturbed(config, undisturbed, workdir):
    """Runs the same command again and checks that it ends like the undisturbed run; returns its messages."""

    def check(config=config, workdir=workdir):
        reference, expected = undisturbed
        outcome = call("train", config, "--workdir", workdir)
        assert outcome.code == 0, outcome.err
        assert outcome.digest == expected.digest
        assert runs.rows(workdir) == runs.rows(reference)
        assert runs.files(workdir / "samples") == runs.files(reference / "samples")
        return outcome.err

    return check


def last_sentence(outcome: runs.Outcome, *words: str) -> None:
    """Checks that a command ended with code 2, and that its last line is a sentence with these words."""
    assert outcome.code == 2, outcome.err
    assert "Traceback" not in outcome.err
    last = outcome.err.splitlines()[-1]
    assert last.startswith("gan-jax: "), outcome.err
    for word in words:
        assert word in last


# ---- damaged checkpoints


def largest(home: Path) -> Path:
    return max((path for path in home.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def cut_short(home: Path) -> str:
    path = largest(home)
    size = path.stat().st_size
    os.truncate(path, size // 2)
    return rf"{path.relative_to(home).as_posix()} has {size // 2} bytes, not {size}"


def flip_a_bit(home: Path) -> str:
    path = largest(home)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 3)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 16]))
    return rf"{path.relative_to(home).as_posix()} does not have the bytes that were written"


def lose_metadata(home: Path) -> str:
    (home / "state" / "_METADATA").unlink()
    return "state/_METADATA is missing"


def lose_the_manifest(home: Path) -> str:
    (home / "manifest.json").unlink()
    return "it has no manifest.json, so its save was not finished"


def lose_everything(home: Path) -> str:
    shutil.rmtree(home / "state")
    return "state/.* is missing"


@pytest.mark.parametrize("fault", [cut_short, flip_a_bit, lose_metadata, lose_the_manifest, lose_everything])
def test_a_damaged_checkpoint_is_skipped(fault, workdir, ends_undisturbed):
    """The run names it and the reason, trains the lost steps again, and replaces it."""
    why = fault(workdir / "checkpoints" / "20")
    listed = [line for line in call("checkpoints", workdir).out.splitlines() if re.match(r"\s*(step )?20\b", line)]
    assert fault is lose_the_manifest or re.search(why, listed[0])
    err = ends_undisturbed()
    assert re.search(rf"^checkpoint 20 is passed over: {why}$", err, re.MULTILINE), err
    assert "resuming at step 10\n" in err
    with Checkpoints(workdir / "checkpoints", keep=10) as kept:
        assert {step: kept.verify(step) for step in kept.steps()} == {10: None, 20: None, 30: None}


def test_50_flipped_bits(workdir):
    """Anywhere in a checkpoint: `verify` and `restore` notice each one and name the file."""
    home, rng, noticed = workdir / "checkpoints" / "20", random.Random(50), 0
    manifest = read_manifest(home)
    target = {
        name: jax.random.key(0) if name in manifest["keys"] else np.zeros(shape, np.dtype(kind))
        for name, (kind, shape) in ((name, parse_description(text)) for name, text in manifest["shapes"].items())
    }
    files = sorted(path for path in home.rglob("*") if path.is_file())
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        assert checkpoints.restore(target, 20) is not None
        for _ in range(50):
            path = rng.choice(files)
            before = path.read_bytes()
            after = bytearray(before)
            after[rng.randrange(len(after))] ^= 1 << rng.randrange(8)
            path.write_bytes(after)
            phrase = checkpoints.verify(20)
            assert phrase is not None, path
            assert path.relative_to(home).as_posix() in phrase
            with pytest.raises(UserError, match=r"step 20 .* cannot be used") as caught:
                checkpoints.restore(target, 20)
            noticed += phrase in str(caught.value)
            path.write_bytes(before)
        assert checkpoints.verify(20) is None
    assert noticed == 50


def test_no_good_checkpoint_and_then_a_new_start(config, workdir, ends_undisturbed, tmp_path):
    for step in ("10", "20"):
        cut_short(workdir / "checkpoints" / step)
    before = runs.files(workdir)
    outcome = call("train", config, "--workdir", workdir)
    last_sentence(
        outcome, "no checkpoint in", "(step 20: ", "; step 10: ", "directory away to start again from step 0"
    )
    assert runs.files(workdir) == before
    (workdir / "checkpoints").rename(tmp_path / "away")
    assert "resuming" not in ends_undisturbed()


def test_the_only_good_checkpoint_stays_until_another_stands(config, workdir, monkeypatch):
    """With `keep=1` and a damaged newest one, every removal leaves a good one."""
    flip_a_bit(workdir / "checkpoints" / "20")
    left, remove = [], gan_jax.checkpoint.checkpoints.remove_checkpoint

    def watched(home):
        with Checkpoints(home.parent) as others:
            good = [step for step in others.steps() if others.verify(step) is None]
        if home.exists():
            left.append([step for step in good if str(step) != home.name])
        remove(home)

    monkeypatch.setattr(gan_jax.checkpoint.checkpoints, "remove_checkpoint", watched)
    outcome = call("train", config, "checkpoint.keep=1", "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    assert left == [[10], [20], [30]]  # first the damaged 20 is replaced, then 10 is removed, then 20
    assert runs.checkpoints(workdir) == [30]


# ---- full disks


def test_a_disk_that_fills_up_during_a_save(config, workdir, ends_undisturbed):
    """As with a quota, which free space does not show. Here a limit on the size of files replaces it."""
    limited = (
        f"import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, ({FILES}, {FILES})); "
        "runpy.run_module('gan_jax', run_name='__main__')"
    )
    assert largest(workdir / "checkpoints" / "20").stat().st_size > FILES
    outcome = spawn("train", config, "--workdir", workdir, python=["-c", limited])
    last_sentence(outcome, "the checkpoint of step 30 needs", "reserve them (File too large): free disk space")
    assert runs.checkpoints(workdir) == [10, 20]
    assert not (workdir / "checkpoints" / "30").exists()  # an unfinished one would keep the disk full
    assert "resuming at step 20\n" in ends_undisturbed()


_SMALL_DISK = """
    import json, pathlib, shutil, subprocess, sys
    disk, config = map(pathlib.Path, sys.argv[1:])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", disk], check=True)
    command = [sys.executable, "-m", "gan_jax", "train", config, "checkpoint.keep=1", "--workdir", disk / "run"]
    outcomes = []
    for steps, left in ("20", None), ("30", 1_100_000), ("30", 0), ("30", None):
        if left is None:
            (disk / "filler").unlink(missing_ok=True)
        else:
            (disk / "filler").write_bytes(b"")
            (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - left))
        done = subprocess.run([*command, f"steps={steps}"], capture_output=True, text=True)
        kept = sorted(path.name for path in (disk / "run" / "checkpoints").iterdir())
        outcomes.append([done.returncode, done.stdout, done.stderr, kept])
    print(json.dumps(outcomes))
"""


_OWN_DISKS = ["unshare", "--mount", "--map-root-user"]  # no other process sees its mounts


def _small_disks() -> bool:
    """Returns whether this user may mount one."""
    words = [*_OWN_DISKS, "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(words, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not _small_disks(), reason="this user must not mount a disk")
def test_a_full_disk(config, undisturbed, tmp_path):
    """A real one: too full for a checkpoint, then too full for the log. The last checkpoint stays."""
    program = [*_OWN_DISKS, sys.executable, "-c", textwrap.dedent(_SMALL_DISK), tmp_path, config]
    variables = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(program, capture_output=True, text=True, cwd=runs.ROOT, env=variables)
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert [kept for *_, kept in outcomes] == [["20"], ["20"], ["20"], ["30"]]
    first, too_little, none, again = (runs.Outcome(*outcome) for *outcome, _ in outcomes)
    assert first.code == 0, first.err
    last_sentence(too_little, "the checkpoint of step 30 needs", "then run the same command again")
    last_sentence(
        none, f"can't write to {tmp_path / 'run'}", "(No space left on device)", "start the same command"
    )
    assert "resuming at step 20\n" in again.err
    assert again.digest == undisturbed[1].digest


# ---- a workdir that cannot be written


@pytest.mark.parametrize("part", [".", "checkpoints", "samples"])
def test_a_read_only_workdir(part, config, workdir, ends_undisturbed):
    """Without the rights of root, which could write anyway."""
    folder, before = workdir / part, runs.files(workdir / "checkpoints")
    as_user = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    outcome = spawn("train", config, "--workdir", workdir, wrapped=as_user)
    last_sentence(outcome, str(folder), "ermission denied")
    assert runs.files(workdir / "checkpoints") == before
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert "resuming at step 20\n" in ends_undisturbed()


# ---- data that cannot be read

_FLAKY = '''
from pathlib import Path

from gan_jax.data.digits import digits


class Flaky:
    """The digits; the one whose index stands in the file `broken` cannot be read."""

    def __init__(self, broken):
        self._digits, self._broken = digits(), Path(broken)
        self.shape, self.dtype, self.classes = self._digits.shape, self._digits.dtype, self._digits.classes

    def __len__(self):
        return len(self._digits)

    def read(self, indices):
        if self._broken.exists() and int(self._broken.read_text()) in indices:
            raise OSError("the disk does not answer")
        return self._digits.read(indices)

    def fingerprint(self):
        return self._digits.fingerprint()
'''


@pytest.mark.parametrize("resident", [False, True])
def test_a_record_that_cannot_be_read(resident, ends_undisturbed, tmp_path, monkeypatch):
    """In a source of the user: the message names it, and the steps before are saved."""
    (tmp_path / "flaky.py").write_text(_FLAKY)
    monkeypatch.syspath_prepend(tmp_path)
    source = f'Call("flaky:Flaky", broken={str(tmp_path / "broken")!r}), resident={resident}'
    config = runs.write_config(tmp_path, TEXT.replace('Call("digits")', source))
    workdir = tmp_path / "flaky"
    record = int(Order(0, len(digits())).step_rows(13, 16, 1).reshape(-1)[5])
    (tmp_path / "broken").write_text(str(record))
    outcome = call("train", config, "--workdir", workdir)
    last_sentence(outcome, f"record {record} of digits", "the disk does not answer")
    assert runs.last_step(workdir) <= (13 if not resident else 0)
    assert runs.checkpoints(workdir) == ([10] if not resident else [])
    (tmp_path / "broken").unlink()
    assert ("resuming at step 10\n" in ends_undisturbed(config, workdir)) == (not resident)
