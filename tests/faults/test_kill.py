"""SIGKILL at any moment of a run: the same command goes on, and ends as if nothing had been."""

import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

import harness
import runs
from harness import Ended, Scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(tmp_path_factory.mktemp("kill"))


def kill(scene: Scene, folder: Path, wish: object, seed: str) -> Ended:
    """Kills a run at a random moment that fulfils the wish, and lets the same command end it.

    Where the wish was for a place, that is verified by what the kill left; a moment that missed it is drawn again.
    """
    rng = random.Random(seed)
    for attempt in range(12):
        workdir = folder / str(attempt)
        empty = folder / f"cache_{attempt}" if wish == "in the first compilation" else None
        process = scene.start(workdir, cache=empty)
        if not harness.reach(process, scene, wish, rng, 0.0, scene.seconds):
            scene.seconds = process.age  # it was faster, and undisturbed
            scene.check(workdir, process.finish())
            continue
        seconds = process.age
        code, grace = process.end(signal.SIGKILL)
        place, logged = process.place(), runs.last_step(workdir)
        if code != -signal.SIGKILL or (isinstance(wish, str) and place != wish):
            continue
        return Ended(place, seconds, logged, scene.resume(process), code, grace)
    raise AssertionError(f"12 moments, and none {wish}")


def kill_all(scene: Scene, folder: Path, wishes: list[object], seed: int) -> Counter[str]:
    """All of these; how many there were of each place."""
    ended, places = harness.end_all(kill, scene, folder, wishes, seed)
    for each in ended:
        assert each.resumed <= max(each.logged, 0) <= harness.STEPS
        assert each.resumed >= each.logged - 4 or each.logged < 0  # a save behind, and the one it waited for
    return places


def test_the_comparison_tells_runs_apart(scene, tmp_path):
    """Another seed's run is not taken for the undisturbed one, nor one that lost a line, or left something."""
    with pytest.raises(AssertionError):
        scene.check(*scene.other)
    workdir = shutil.copytree(scene.workdir, tmp_path / "same")
    with pytest.raises(AssertionError):
        scene.check(workdir, scene.other[1])
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
    """Whoever reads it may send a signal from then on."""
    assert scene.outcome.err.startswith(f"training faults in {scene.workdir}\n")


def test_stopped_while_jax_is_imported(scene, tmp_path):
    """The handler stands before that, which takes a second: nothing was begun, and the same command begins it."""
    process = scene.start(tmp_path / "run")
    assert process.wait_until(lambda: "jaxlib" in process.maps)
    code, _ = process.end(signal.SIGTERM, within=30.0)
    assert code == 75, process.said
    assert process.said == "SIGTERM came before the first step: the same command goes on\n"
    scene.resume(process)


def test_five_kills(scene, tmp_path):
    wishes = ["in the first compilation", "in a save", *harness.parts(3)]
    places = kill_all(scene, tmp_path, wishes, seed=5)
    assert places["in a save"] >= 1
    assert places["in the first compilation"] >= 1


@pytest.mark.timeout(900)
def test_thirty_kills(scene, tmp_path):
    named = {"in the first compilation": 4, "in a save": 10, "in the final report": 2}
    wishes = [place for place, count in named.items() for _ in range(count)] + harness.parts(14)
    places = kill_all(scene, tmp_path, wishes, seed=30)
    assert sum(places.values()) == 30
    assert all(places[place] >= count for place, count in named.items())
