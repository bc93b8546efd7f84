"""Damaged checkpoints: the run names each one, uses an older one, and ends like an undisturbed run."""

import os
import random
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import gan_jax.checkpoint.checkpoints
import runs
from gan_jax.checkpoint import Checkpoints
from gan_jax.checkpoint.manifest import read_manifest
from gan_jax.errors import UserError
from gan_jax.pytree import parse_description
from mlp_run import TEXT, largest, last_sentence
from runs import call

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return runs.write_config(tmp_path_factory.mktemp("config"), TEXT)


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


SLOW = [flip_a_bit, lose_metadata, lose_the_manifest, lose_everything]


@pytest.mark.parametrize("fault", [cut_short, *(pytest.param(fault, marks=pytest.mark.slow) for fault in SLOW)])
def test_a_damaged_checkpoint_is_skipped(fault, workdir, ends_undisturbed):
    """The run names it and the reason, trains the lost steps again, and replaces it."""
    why = fault(workdir / "checkpoints" / "20")
    listed = [line for line in call("checkpoints", workdir).out.splitlines() if re.match(r"\s*(step )?20\b", line)]
    assert re.search(why, listed[0])
    assert "checkpoint 20 is passed over, so this is step 10: " in call("digest", workdir).err
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
