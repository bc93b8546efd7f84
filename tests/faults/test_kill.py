"""SIGKILL at any moment of a run: the same command continues, and ends like an undisturbed run."""

import os
import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

import harness
import runs
from harness import Ended, Scene, Wish

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(tmp_path_factory.mktemp("kill"))


@pytest.fixture(scope="module")
def other(scene):
    """The workdir and the outcome of a run with another seed."""
    process = scene.start(scene.workdir.with_name("other"), "seed=1")
    outcome = process.finish()
    assert outcome.code == 0, outcome.err
    return process.workdir, outcome


def kill(scene: Scene, folder: Path, wish: Wish, seed: str) -> Ended:
    """Kills a run at a random moment of the wish, and lets the same command complete it.

    The files that the kill left show whether it hit the wished place; if not, another moment is drawn.
    """
    rng = random.Random(seed)
    for attempt in range(12):
        workdir = folder / str(attempt)
        empty = folder / f"cache_{attempt}" if wish == "in the first compilation" else None
        process = scene.start(workdir, cache=empty)
        if not harness.reach(process, scene, wish, rng, 0.0, scene.seconds):
            scene.seconds = process.age  # it ended before, undisturbed
            scene.check(workdir, process.finish())
            continue
        seconds = process.age
        code, grace = process.end(signal.SIGKILL)
        place, logged = process.place(), runs.last_step(workdir)
        if code != -signal.SIGKILL or (isinstance(wish, str) and place != wish):
            continue
        return Ended(place, seconds, logged, scene.resume(process), code, grace)
    raise AssertionError(f"none of 12 moments was {wish}")


def kill_all(scene: Scene, folder: Path, wishes: list[Wish], seed: int) -> Counter[str]:
    """Kills a run for each wish; returns how many were killed in each place."""
    ended, places = harness.end_all(kill, scene, folder, wishes, seed)
    for each in ended:
        assert each.resumed <= max(each.logged, 0) <= harness.STEPS
        # The last save may be unfinished, and the run waits for the one before.
        assert each.resumed >= each.logged - 4 or each.logged < 0
    return places


def test_the_comparison_tells_runs_apart(scene, other, tmp_path):
    """`Scene.check` refuses a run with another seed, a changed log, or a file too many."""
    with pytest.raises(AssertionError):
        scene.check(*other)
    workdir = shutil.copytree(scene.workdir, tmp_path / "same")
    with pytest.raises(AssertionError):
        scene.check(workdir, other[1])
    scene.check(workdir, scene.outcome)
    log = workdir / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    for changed in (lines[:-1], lines[:5] + lines[4:]):
        log.write_text("".join(changed))
        with pytest.raises(AssertionError):
            scene.check(workdir, scene.outcome)
    log.write_text("".join(lines))
    scene.check(workdir, scene.outcome)
    (workdir / "checkpoints" / "6").mkdir()
    with pytest.raises(AssertionError):
        scene.check(workdir, scene.outcome)


def test_the_first_line(scene):
    """It says that the run can be stopped from now on."""
    assert scene.outcome.err.startswith(f"training faults in {scene.workdir}\n")


def test_stopped_while_jax_is_imported(scene, tmp_path):
    """The handler is set before this import, which takes a second. The same command starts the run."""
    process = scene.start(tmp_path / "run")
    assert process.wait_until(lambda: "jaxlib" in process.maps)
    code, _ = process.end(signal.SIGTERM, within=30.0)
    assert code == 75, process.err
    assert process.err == "SIGTERM came before the first step: the same command goes on\n"
    scene.resume(process)


KINDS: dict[str, tuple[list[str], int]] = {  # overrides, and the number of devices
    "jit": ([], 1),
    "jit, ADA, metrics": (
        [
            "augment=ada", "checkpoint.best=frechet", "metrics.every=4", "metrics.count=16",
            "metrics.reference=16", "metrics.features=fake_features:quarters",
        ],
        1,
    ),
    "shard, ADA, fused": (
        ["augment=ada", "log.every=2", "parallel.fuse=2", "parallel.mode=shard", "parallel.devices=4"], 4,
    ),
    "pmap": (["parallel.mode=pmap", "parallel.devices=4"], 4),
}  # fmt: skip
KILLS = int(os.environ.get("GAN_JAX_KILLS", "20"))  # of all kinds together


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_many_kills(kind, request, tmp_path):
    """`GAN_JAX_KILLS=100` makes more of them than the default."""
    overrides, devices = KINDS[kind]
    if kind == "jit":
        scene = request.getfixturevalue("scene")
    else:
        (tmp_path / "scene").mkdir()
        scene = Scene(tmp_path / "scene", overrides, devices)
    count = KILLS // len(KINDS)
    named = {"in a save": max(1, count // 3), "in the final report": max(1, count // 10)}
    if kind == "jit":
        named["in the first compilation"] = max(1, count // 5)
    wishes: list[Wish] = [place for place, number in named.items() for _ in range(number)]
    wishes += harness.parts(count - len(wishes))
    places = kill_all(scene, tmp_path, wishes, seed=count)
    assert sum(places.values()) == count
    assert all(places[place] >= number for place, number in named.items())
