"""SIGTERM at any moment after the first line of a run: it saves in time, exits with 75, and repeats no step."""

import random
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

import harness
import runs
from harness import STEPS, Ended, Scene, Wish

GRACE = 30.0  # seconds; the default of Kubernetes and of SLURM


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(tmp_path_factory.mktemp("stop"))


def stop(scene: Scene, folder: Path, wish: Wish, seed: str) -> Ended:
    """Stops a run at a random moment of the wish, and lets the same command complete it."""
    rng = random.Random(seed)
    for attempt in range(12):
        workdir = folder / str(attempt)
        empty = folder / f"cache_{attempt}" if wish == "in the first compilation" else None
        process = scene.start(workdir, cache=empty)
        assert process.wait_until(lambda process=process: process.first_line)
        reached = harness.reach(process, scene, wish, rng, process.age, scene.stepping)
        if not reached or runs.last_step(workdir) == STEPS:
            scene.stepping *= 0.9  # it ended before, undisturbed
            scene.check(workdir, process.finish())
            continue
        # Before the signal: afterwards no unfinished work shows the place.
        seconds, place = process.age, process.place()
        code, grace = process.end(signal.SIGTERM, within=GRACE)
        if code == 0 and runs.last_step(workdir) == STEPS:
            scene.check(workdir, process.finish())  # the signal came after the last step
            continue
        if isinstance(wish, str) and place != wish:
            continue
        assert code == 75, f"{place}: {process.err}"
        at = check_stopped(scene, process)
        resumed = scene.resume(process)
        assert resumed == at
        return Ended(place, seconds, at, resumed, code, grace)
    raise AssertionError(f"none of 12 moments was {wish}")


def check_stopped(scene: Scene, process: harness.Process) -> int:
    """Checks that it said where it stopped, saved this step and logged no later one; returns the step."""
    err = process.err
    assert "Traceback" not in err, err
    last = err.splitlines()[-1]
    assert last.endswith("the same command goes on"), err
    if "SIGTERM came before the first step" in last:
        assert runs.checkpoints(process.workdir) == []
        assert runs.rows(process.workdir) == []
        return 0
    message = re.match(rf"SIGTERM came at step (\d+) of {STEPS}: all is saved", last)
    assert message, err
    step = int(message[1])
    assert runs.checkpoints(process.workdir)[-1] == step
    assert runs.rows(process.workdir) == scene.rows(step)
    return step


def stop_all(scene: Scene, folder: Path, wishes: list[Wish], seed: int) -> Counter[str]:
    """Stops a run for each wish; returns how many were stopped in each place."""
    ended, places = harness.end_all(stop, scene, folder, wishes, seed)
    slowest = max(each.grace for each in ended)
    print(f"all of them stopped within {slowest:.2f} s")
    assert slowest < GRACE
    return places


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twelve_stops(scene, tmp_path):
    wishes: list[Wish] = ["in the first compilation"] * 3 + harness.parts(9)
    places = stop_all(scene, tmp_path, wishes, seed=12)
    assert sum(places.values()) == 12
    assert places["in the first compilation"] >= 3
