"""Tests of damage, failed saves and kills: a checkpoint is complete or not used, and a good one is never lost."""

import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from devices import run_python
from gan_jax.checkpoint import Checkpoints
from gan_jax.checkpoint.manifest import read_manifest, write_manifest
from gan_jax.errors import NonFiniteError, UserError
from states import assert_same, make_state, save_all


def test_a_damaged_checkpoint_does_not_count_as_kept(tmp_path):
    save_all(tmp_path, 10, 20)
    next((tmp_path / "20" / "state" / "d").iterdir()).unlink()
    shutil.copytree(tmp_path, tmp_path.with_name("other"))
    save_all(tmp_path.with_name("other"), 30)
    assert Checkpoints(tmp_path.with_name("other")).steps() == [10, 20, 30]
    save_all(tmp_path, 15, keep=1)  # resumed from 10; 20 is newer, but damaged
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoints.steps() == [15, 20]
        restored = checkpoints.restore(make_state())
        assert restored is not None
        assert restored.step == 15
        assert [step for step, _ in restored.passed_over] == [20]
        checkpoints.save(20, make_state(20), {})  # written, although the damaged one has the same digest
        checkpoints.wait()
        assert checkpoints.verify(20) is None
        assert checkpoints.steps() == [20]


def _damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "delete":
        path.unlink()
    elif how == "truncate":
        path.write_bytes(data[:-1])
    else:
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


@pytest.mark.parametrize("how", ["flip", "truncate", "delete"])
def test_damage_to_any_file_is_noticed_and_the_older_checkpoint_is_used(tmp_path, how):
    save_all(tmp_path, 1, 2)
    files = [path for path in (tmp_path / "2").rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "manifest.json"} <= names
    checkpoints = Checkpoints(tmp_path)
    for path in files:
        data = path.read_bytes()
        _damage(path, how)
        phrase = checkpoints.verify(2)
        assert phrase is not None
        assert path.relative_to(tmp_path / "2").as_posix() in phrase
        restored = checkpoints.restore(make_state())
        assert restored is not None
        assert (restored.step, restored.passed_over) == (1, [(2, phrase)])
        assert_same(restored.state, make_state(1))
        if (tmp_path / "2" / "manifest.json").exists():
            with pytest.raises(UserError, match=r"step 2 .* cannot be used") as caught:
                checkpoints.restore(make_state(), 2)
            assert phrase in str(caught.value)
        path.write_bytes(data)
    assert checkpoints.verify(2) is None


def test_a_change_of_any_byte_of_the_manifest_is_noticed(tmp_path):
    save_all(tmp_path, 1)
    path, checkpoints = tmp_path / "1" / "manifest.json", Checkpoints(tmp_path)
    data = path.read_bytes()
    for position in range(0, len(data), 11):
        for bit in (1, 32):
            path.write_bytes(data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :])
            assert checkpoints.verify(1) is not None, position


def test_values_are_compared_after_reading(tmp_path):
    save_all(tmp_path, 1, 2)
    manifest = read_manifest(tmp_path / "2")
    manifest["leaves"]["params/Dense_0/bias"] = "0" * 32
    write_manifest(tmp_path / "2", manifest)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.verify(2) is None  # the files are unchanged
    restored = checkpoints.restore(make_state())
    assert restored is not None
    reason = "the values of params/Dense_0/bias are not those that were saved"
    assert (restored.step, restored.passed_over) == (1, [(2, reason)])


def test_no_checkpoint_and_no_usable_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path / "none")
    assert checkpoints.restore(make_state()) is None
    assert checkpoints.steps() == []
    with pytest.raises(UserError, match=r"no checkpoint of step 3 .*: the directory has none"):
        checkpoints.restore(make_state(), 3)
    save_all(tmp_path / "two", 1, 2)
    for step in (1, 2):
        (tmp_path / "two" / str(step) / "state" / "_METADATA").unlink()
    checkpoints = Checkpoints(tmp_path / "two")
    reasons = "step 2: state/_METADATA is missing; step 1: state/_METADATA is missing"
    with pytest.raises(UserError, match=reasons):
        checkpoints.restore(make_state())
    assert checkpoints.steps() == [1, 2]
    with pytest.raises(UserError, match=r"step 3 .*: the steps there are 1, 2"):
        checkpoints.restore(make_state(), 3)


def test_a_state_that_is_not_finite_is_refused_and_replaces_nothing(tmp_path):
    bias = jnp.array([1, np.nan, 2, 3], jnp.bfloat16)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, make_state(1), {})
        state = make_state(2)
        checkpoints.save(2, state.replace(params={**state.params, "Dense_0": {"bias": bias}}), {})
        with pytest.raises(NonFiniteError, match=r"step 2 .* params/Dense_0/bias is not .* checkpoint is step 1"):
            checkpoints.save(3, state, {})
        assert checkpoints.steps() == [1]
        assert checkpoints.verify(1) is None
        checkpoints.save(1, {"w": jnp.array([np.inf]), "v": bias}, {})  # not even its own step
        with pytest.raises(NonFiniteError, match="v and 1 more of its leaves are not finite"):
            checkpoints.wait()
        assert checkpoints.verify(1) is None
        checkpoints.save(3, state, {})
    assert Checkpoints(tmp_path).steps() == [3]


def test_a_write_error_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    checkpoints = Checkpoints(tmp_path / "file" / "below")
    checkpoints.save(1, make_state(), {})
    with pytest.raises(UserError, match=r"saving step 1 in .*below failed: .*Not a directory"):
        checkpoints.wait()
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"holds thesis.tex"), Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, make_state(), {})
    assert (tmp_path / "7" / "thesis.tex").exists()
    interrupted = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), Checkpoints(tmp_path) as checkpoints:  # noqa: PT012
        checkpoints.save(7, make_state(), {})
        raise interrupted
    assert "thesis.tex" in interrupted.__notes__[0]


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    save_all(tmp_path, 1)
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"step 2 needs 0 MB, but .* has 0 MB left: "):
        save_all(tmp_path, 2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["1"]
    assert Checkpoints(tmp_path).verify(1) is None


# It forks before JAX starts threads, and imports Orbax before, which each child would do otherwise.
# The nth child kills itself at its nth operation on the file system.
_KILLED = """
import os, shutil, signal, sys, warnings
warnings.simplefilter("ignore")
from gan_jax.checkpoint import Checkpoints
import numpy as np
import orbax.checkpoint

OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}

def kill_at(n, home):
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event in OPERATIONS and (event in ("os.remove", "os.rmdir") or home in str(arguments[0])):
            count += 1
            if count == n:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

n = 1
while True:
    home = os.path.join(root, f"at_{n}")
    shutil.copytree(os.path.join(root, "before"), home)
    child = os.fork()
    if child == 0:
        kill_at(n, home)
        with Checkpoints(home) as checkpoints:
            checkpoints.save(step, {"w": np.arange(1000.0, dtype=np.float32) * 3}, {"new": True})
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        assert os.waitstatus_to_exitcode(status) == 0
        break
    n += stride
print(n)
"""


def _check_killed(tmp_path: Path, step: int, stride: int) -> None:
    old = {n: {"w": np.arange(1000.0, dtype=np.float32) * n} for n in (1, 2)}
    new = {"w": np.arange(1000.0, dtype=np.float32) * 3}
    with Checkpoints(tmp_path / "before") as checkpoints:
        for n, state in old.items():
            checkpoints.save(n, state, {"new": False})
    completed = int(run_python(f"root, stride, step = {str(tmp_path)!r}, {stride}, {step}" + _KILLED))
    assert completed > 30  # so a save has more than 30 such operations
    seen = set()
    for n in range(1, completed, stride):
        with Checkpoints(tmp_path / f"at_{n}") as checkpoints:
            assert all(checkpoints.verify(kept_step) is None for kept_step in checkpoints.steps()), n
            restored = checkpoints.restore(new)
            assert restored is not None
            seen.add(restored.record["new"])
            assert_same(restored.state, new if restored.record["new"] else old[restored.step])
            assert restored.step == (step if restored.record["new"] else 2)
            checkpoints.save(step, new, {"new": True})
            checkpoints.wait()
            assert checkpoints.steps() == ([2, 3] if step == 3 else [1, 2])
            assert checkpoints.verify(step) is None
            assert sorted(entry.name for entry in checkpoints.directory.iterdir()) == [
                str(kept_step) for kept_step in checkpoints.steps()
            ]
            assert len(list((checkpoints.directory / str(step)).iterdir())) == 2
    assert seen == {False, True}


def test_sigkill_leaves_a_complete_checkpoint_or_none(tmp_path):
    """At some operations; the slow test is killed at each."""
    _check_killed(tmp_path, 3, 20)


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 2], ids=["new", "replaced"])
def test_sigkill_at_every_operation_on_the_file_system(tmp_path, step):
    _check_killed(tmp_path, step, 1)
