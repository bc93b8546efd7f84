"""SIGTERM at any moment of a run, from its first line on: it saves in time, says 75, and nothing is done twice."""

import random
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

import harness
import runs
from harness import STEPS, Ended, Scene

GRACE = 30.0  # seconds, what Kubernetes gives by default and SLURM too


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(tmp_path_factory.mktemp("stop"))


def stop(scene: Scene, folder: Path, wish: object, seed: str) -> Ended:
    """Stops a run at a random moment that fulfils the wish, and lets the same command end it."""
    rng = random.Random(seed)
    for attempt in range(12):
        workdir = folder / str(attempt)
        empty = folder / f"cache_{attempt}" if wish == "in the first compilation" else None
        process = scene.start(workdir, cache=empty)
        assert process.wait_until(lambda process=process: process.first_line)
        reached = harness.reach(process, scene, wish, rng, process.age, scene.stepping)
        if not reached or runs.last_step(workdir) == STEPS:
            scene.stepping *= 0.9  # it was faster, and undisturbed
            scene.check(workdir, process.finish())
            continue
        # Before the signal, because it leaves no half-finished work to tell the place by.
        seconds, place = process.age, process.place()
        code, grace = process.end(signal.SIGTERM, within=GRACE)
        if code == 0 and runs.last_step(workdir) == STEPS:
            scene.check(workdir, process.finish())  # no step was left to stop before
            continue
        if isinstance(wish, str) and place != wish:
            continue
        assert code == 75, f"{place}: {process.said}"
        at = check_stopped(scene, process)
        resumed = scene.resume(process)
        assert resumed == at
        return Ended(place, seconds, at, resumed, code, grace)
    raise AssertionError(f"12 moments, and none {wish}")


def check_stopped(scene: Scene, process: harness.Process) -> int:
    """It said where it stopped, saved that very step, and its log ends there; the step."""
    said = process.said
    assert "Traceback" not in said, said
    last = said.splitlines()[-1]
    assert last.endswith("the same command goes on"), said
    if "SIGTERM came before the first step" in last:
        assert runs.checkpoints(process.workdir) == []
        assert runs.rows(process.workdir) == []
        return 0
    told = re.match(rf"SIGTERM came at step (\d+) of {STEPS}: all is saved", last)
    assert told, said
    step = int(told[1])
    assert runs.checkpoints(process.workdir)[-1] == step
    assert runs.rows(process.workdir) == scene.rows(step)
    return step


def stop_all(scene: Scene, folder: Path, wishes: list[object], seed: int) -> Counter[str]:
    """All of these; how many there were of each place."""
    ended, places = harness.end_all(stop, scene, folder, wishes, seed)
    slowest = max(each.grace for each in ended)
    print(f"all of them stopped within {slowest:.2f} s")
    assert slowest < GRACE
    return places


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_stops(scene, tmp_path):
    wishes = ["in the first compilation"] * 4 + harness.parts(16)
    places = stop_all(scene, tmp_path, wishes, seed=20)
    assert sum(places.values()) == 20
    assert places["in the first compilation"] >= 3
