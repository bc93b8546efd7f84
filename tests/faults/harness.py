"""Ends runs at random moments, and compares the results with those of an undisturbed run."""

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import runs
from watched_process import STEPS, Process

CONFIG = '''"""The digits, with networks so large that a save takes longer than the steps until the next one."""

from gan_jax.config import Call, Checkpoint, Config, Data, Log, Sample


def get_config():
    return Config(
        name="faults",
        steps=12,
        batch=16,
        data=Data(source=Call("digits")),
        generator=Call("mlp", width=512),
        discriminator=Call("mlp", width=512),
        latent=Call("normal", size=8),
        log=Log(every=1, tensorboard=False),
        sample=Sample(every=4, count=9),
        checkpoint=Checkpoint(every=2, keep=2),
    )
'''
Job = TypeVar("Job")
Result = TypeVar("Result")

Wish: TypeAlias = str | tuple[float, float]  # see `reach`


class Scene:
    """A config, a cache with its programs, and an undisturbed run to compare with.

    Args:
        folder: an empty folder.
        overrides: of the config, for every run.
        devices: the number of CPU devices.

    Attributes:
        workdir, outcome: of the undisturbed run.
        seconds: the time of a run whose programs are in the cache, while another one runs.
        stepping: the part of this time until the last step.
        report: the part of this time after the last save.
        compilation: the seconds of the first compilation, from its first file in the cache.
    """

    def __init__(self, folder: Path, overrides: Sequence[str] = (), devices: int = 1):
        self.config = runs.write_config(folder, CONFIG, "faults.py")
        shutil.copy(runs.ROOT / "tests" / "fake_features.py", folder)  # features for runs that measure metrics
        self._overrides, self._devices = overrides, devices
        self.cache = folder / "cache"
        first = self.start(folder / "first")
        assert first.wait_until(lambda: first.compiling), first.err
        start = first.age
        assert first.wait_until(lambda: not first.compiling), first.err
        self.compilation = first.age - start
        self.workdir, self.outcome = first.workdir, first.finish()
        assert self.outcome.code == 0, self.outcome.err
        # Again, with programs from the cache, to measure the times: as later, two runs at a time.
        beside, again = self.start(folder / "beside"), self.start(folder / "again")
        again.wait_until(lambda: runs.last_step(again.workdir) == STEPS)
        self.stepping = again.age
        again.wait_until(lambda: again.saved)
        saved = again.age
        self.check(again.workdir, again.finish())
        self.check(beside.workdir, beside.finish())
        self.seconds, self.report = again.age, again.age - saved

    def start(self, workdir: Path, *overrides: str, cache: Path | None = None) -> Process:
        words = [*self._overrides, *overrides]
        return Process(self.config, workdir, cache or self.cache, *words, devices=self._devices)

    def check(self, workdir: Path, outcome: runs.Outcome) -> None:
        """Checks that a run ended like the undisturbed one: same bits, log, samples and files."""
        assert outcome.code == 0, outcome.err
        assert "Traceback" not in outcome.err
        assert outcome.digest == self.outcome.digest
        assert runs.rows(workdir) == runs.rows(self.workdir)
        assert runs.files(workdir / "samples") == runs.files(self.workdir / "samples")
        for name in ("evaluations.jsonl", "config.json"):
            assert _content(workdir / name) == _content(self.workdir / name)
        assert _names(workdir) == _names(self.workdir)

    def rows(self, steps: int) -> list[dict[str, object]]:
        """Returns the log of the undisturbed run up to a step."""
        return runs.rows(self.workdir)[:steps]

    def resume(self, process: Process) -> int:
        """Runs the same command to its end and checks it; returns the step from which it resumed, or 0."""
        again = self.start(process.workdir, cache=process.cache)
        outcome = again.finish()
        self.check(process.workdir, outcome)
        found = [line for line in outcome.err.splitlines() if line.startswith("resuming at step ")]
        return int(found[0].rpartition(" ")[2]) if found else 0


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _names(workdir: Path) -> list[str]:
    """Returns the files of a workdir, without the lock and without files whose names Orbax chooses."""
    found = [path for pattern in ("*", "*/*", "checkpoints/*/*") for path in workdir.glob(pattern)]
    return sorted(str(path.relative_to(workdir)) for path in found if path.name != ".lock")


class Ended(NamedTuple):
    """A process that was ended: where, at which age, its last logged step, and the step it resumed from."""

    place: str
    seconds: float
    logged: int
    resumed: int
    code: int
    grace: float

    def __str__(self) -> str:
        after = "" if self.code < 0 else f", exit code {self.code} after {self.grace:.2f} s"
        return (
            f"{self.place:<25} at {self.seconds:5.2f} s, logged to step {max(self.logged, 0):2}, "
            f"resumed from {self.resumed:2}{after}"
        )


def two_at_a_time(act: Callable[[Job], Result], jobs: Iterable[Job]) -> list[Result]:
    """Calls `act` on each job, two at a time. Returns the results in order, or raises the first error."""
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(act, job) for job in jobs]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()


def end_all(
    end: Callable[[Scene, Path, Wish, str], Ended], scene: Scene, folder: Path, wishes: Sequence[Wish], seed: int
) -> tuple[list[Ended], Counter[str]]:
    """Ends one run for each wish. Returns them, and how many ended in each place; prints both."""

    def one(job: tuple[int, Wish]) -> Ended:
        home = folder / f"{job[0]:02}"
        home.mkdir()
        return end(scene, home, job[1], f"{seed}-{job[0]}")

    ended = two_at_a_time(one, enumerate(wishes))
    places = Counter(each.place for each in ended)
    print("", *ended, f"{len(ended)} of {len(wishes)} ended as the undisturbed run: {dict(places)}", sep="\n")
    return ended, places


def parts(count: int) -> list[tuple[float, float]]:
    """Divides the life of a process into `count` parts, so that moments in all of them are drawn."""
    return [(i / count, (i + 1) / count) for i in range(count)]


def reach(process: Process, scene: Scene, wish: Wish, rng: random.Random, since: float, until: float) -> bool:
    """Waits for a random moment in the place or the part of the time that `wish` names.

    Args:
        process: the process to watch.
        scene: for the length of its compilation and of its report.
        wish: a place (`Process.place`), or a part of the time between `since` and `until`, both from 0 to 1.
        rng: draws the moment.
        since: the age of the process, in seconds, at which the time begins.
        until: the age at which it ends.

    Returns:
        False when the process ended before.
    """
    if wish == "in a save":
        step = 2 * rng.randint(1, STEPS // 2)
        moment = rng.uniform(0, 0.06)
        return process.wait_until(lambda: process.saving == step) and process.wait_age(process.age + moment)
    if wish == "in the first compilation":
        moment = rng.uniform(0, scene.compilation)
        return process.wait_until(lambda: process.compiling) and process.wait_age(process.age + moment)
    if wish == "in the final report":
        moment = rng.uniform(0, scene.report)
        return process.wait_until(lambda: process.saved) and process.wait_age(process.age + moment)
    begin, end = wish
    return process.wait_age(since + rng.uniform(begin, end) * (until - since))
