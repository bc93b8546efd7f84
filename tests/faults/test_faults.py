"""Faults of disks and data: one sentence names each, and the repaired run ends like an undisturbed one.

These tests use the command line. The parts have tests of their own: `test_checkpoints.py` (damage to each file, a
kill at every access to the disk, a state that is not finite), `test_data_loader.py`, and for a damaged manifest, a
workdir that cannot be made and a run without a good checkpoint `test_resume.py`, `test_cli.py` and `test_loop.py`.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

import runs
from gan_jax.data.digits import digits
from gan_jax.data.order import Order
from mlp_run import TEXT, largest, last_sentence
from runs import call, spawn

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(120)]
FILES = 60_000  # a limit on the bytes of a file, below the largest file of a checkpoint


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return runs.write_config(tmp_path_factory.mktemp("config"), TEXT)


# ---- full disks


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "part",
    [pytest.param(".", marks=pytest.mark.slow), "checkpoints", pytest.param("samples", marks=pytest.mark.slow)],
)
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
        self.label = self._digits.label

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
