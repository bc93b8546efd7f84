"""`gan-jax train` in processes of their own, ended from outside at moments that a test draws, and compared.

From outside alone: by the clock, by what a process has printed, and by what lies in its workdir and its cache.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import runs
from gan_jax.checkpoint.manifest import MANIFEST

STEPS = 12
CONFIG = '''"""The digits, and players whose state takes longer to save than the steps between take to make."""

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
STEP_PROGRAM = "jit__unnamed_function"  # how the name of the step's program begins in the cache


class Process:
    """`gan-jax train CONFIG OVERRIDES --workdir WORKDIR`, keeping what it compiles in `cache`."""

    def __init__(self, config: Path, workdir: Path, cache: Path, *overrides: str):
        self.workdir, self.cache = workdir, cache
        self._said = workdir.with_name(f"{workdir.name}.err")
        words = [sys.executable, "-m", "gan_jax", "train", str(config), *overrides, "--workdir", str(workdir)]
        # A folder that JAX itself was given would stand before this one.
        variables = {name: value for name, value in os.environ.items() if "_CACHE_" not in name}
        variables |= {"JAX_PLATFORMS": "cpu", "GAN_JAX_CACHE": str(cache)}
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                words, stdout=subprocess.DEVNULL, stderr=said, env=variables, cwd=runs.ROOT, start_new_session=True
            )
        self._began = time.monotonic()

    @property
    def age(self) -> float:
        return time.monotonic() - self._began

    @property
    def said(self) -> str:
        return self._said.read_text(errors="replace")

    def wait_until(self, seen: Callable[[], Any], timeout: float = 60.0) -> bool:
        """Until `seen()`; False where the process ended first."""
        while not seen():
            if self.age > timeout:
                self._give_up(timeout)
            if self._process.poll() is not None:
                return False
            time.sleep(0.001)
        return True

    def wait_age(self, seconds: float) -> bool:
        """Until it is so old; False where it ended first."""
        return self.wait_until(lambda: self.age >= seconds)

    def end(self, how: signal.Signals, within: float = 30.0) -> tuple[int, float]:
        """Its exit code once it got the signal, and the seconds that took."""
        began = time.monotonic()
        self._process.send_signal(how)
        return self._wait(within), time.monotonic() - began

    def finish(self, timeout: float = 90.0) -> runs.Outcome:
        return runs.Outcome(self._wait(timeout), "", self.said)

    def _wait(self, timeout: float) -> int:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._give_up(timeout)

    def _give_up(self, timeout: float) -> NoReturn:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        raise AssertionError(f"still there after {timeout} s\n{self.said[-4000:]}")

    # -- where it is

    @property
    def maps(self) -> str:
        """The files that it has mapped into its memory."""
        try:
            return Path(f"/proc/{self._process.pid}/maps").read_text()
        except OSError:
            return ""

    @property
    def first_line(self) -> bool:
        return "\n" in self.said

    @property
    def compiling(self) -> bool:
        """In the first compilation: into a cache that was empty a program has come, and the step's has not."""
        programs = [path.name for path in self.cache.glob("xla/*/*-cache")]
        return bool(programs) and not any(name.startswith(STEP_PROGRAM) for name in programs)

    @property
    def saving(self) -> int | None:
        """The step whose save has begun and is not finished, by what lies in `checkpoints/`."""
        numbered = [int(path.name) for path in self.workdir.glob("checkpoints/*") if path.name.isdecimal()]
        unfinished = [step for step in numbered if not self._whole(step)]
        # An older one without a manifest is about to be removed, and no save.
        return max(unfinished, default=None) if unfinished and max(unfinished) == max(numbered) else None

    @property
    def saved(self) -> bool:
        """The last checkpoint stands."""
        return (self.workdir / "checkpoints" / str(STEPS) / MANIFEST).exists()

    def _whole(self, step: int) -> bool:
        try:
            names = os.listdir(self.workdir / "checkpoints" / str(step))
        except FileNotFoundError:  # removed meanwhile
            return True
        return MANIFEST in names and len(names) == 2  # and one folder of what Orbax wrote

    def place(self) -> str:
        """Where in its life it ended, by what it left."""
        logged = runs.last_step(self.workdir)
        if self.saving is not None:
            return "in a save"
        if not self.first_line:
            return "before the first line"
        if logged < 0:
            return "in the first compilation" if self.compiling else "before the first step"
        return "in the final report" if self.saved else "between steps"


class Scene:
    """A config, a cache of what it compiles, and the run that nothing disturbed.

    Attributes:
        workdir, outcome: of that run. other: those of a run with another seed.
        seconds: that a run takes with its programs compiled, two at a time.
        stepping: of these, until its last step.
        compilation: seconds that the first compilation takes, once it is seen.
    """

    def __init__(self, folder: Path):
        self.config = runs.write_config(folder, CONFIG, "faults.py")
        self.cache, self._folder = folder / "cache", folder
        first = self.start(folder / "first")
        assert first.wait_until(lambda: first.compiling), first.said
        seen = first.age
        assert first.wait_until(lambda: not first.compiling), first.said
        self.compilation = first.age - seen
        self.workdir, self.outcome = first.workdir, first.finish()
        assert self.outcome.code == 0, self.outcome.err
        # Again, to measure what tests will meet. Programs from the cache give the same bits, another seed others.
        self._times: list[tuple[float, float]] = []
        (workdir, outcome), self.other = two_at_a_time(self._again, [[], ["seed=1"]])
        self.check(workdir, outcome)
        self.stepping, self.seconds = (max(times) for times in zip(*self._times))

    def _again(self, overrides: list[str]) -> tuple[Path, runs.Outcome]:
        process = self.start(self._folder / f"again{len(overrides)}", *overrides)
        process.wait_until(lambda: runs.last_step(process.workdir) == STEPS)
        stepping = process.age
        outcome = process.finish()
        self._times.append((stepping, process.age))
        return process.workdir, outcome

    def start(self, workdir: Path, *overrides: str, cache: Path | None = None) -> Process:
        return Process(self.config, workdir, cache or self.cache, *overrides)

    def check(self, workdir: Path, outcome: runs.Outcome) -> None:
        """It ended as the run that nothing disturbed, with nothing lost, nothing twice and nothing left over."""
        assert outcome.code == 0, outcome.err
        assert "Traceback" not in outcome.err
        assert outcome.digest == self.outcome.digest
        assert runs.rows(workdir) == runs.rows(self.workdir)
        assert runs.files(workdir / "samples") == runs.files(self.workdir / "samples")
        assert _names(workdir) == _names(self.workdir)

    def rows(self, steps: int) -> list[dict[str, Any]]:
        """The log of the undisturbed run up to a step."""
        return runs.rows(self.workdir)[:steps]

    def resume(self, process: Process) -> int:
        """The same command to the end, which is that of the undisturbed run; the step it went on from, or 0."""
        again = self.start(process.workdir, cache=process.cache)
        outcome = again.finish()
        self.check(process.workdir, outcome)
        found = [line for line in outcome.err.splitlines() if line.startswith("resuming at step ")]
        return int(found[0].rpartition(" ")[2]) if found else 0


def _names(workdir: Path) -> list[str]:
    """What lies in a workdir, but for the lock and the files that Orbax names as it likes."""
    found = [path for pattern in ("*", "*/*", "checkpoints/*/*") for path in workdir.glob(pattern)]
    return sorted(str(path.relative_to(workdir)) for path in found if path.name != ".lock")


class Ended(NamedTuple):
    """One process that was ended: where, how old it was, what it had logged, and where the next one went on."""

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
            f"went on from {self.resumed:2}{after}"
        )


def two_at_a_time(act: Callable[..., Any], jobs: Iterable[Any]) -> list[Any]:
    """The results in order; the first error ends it."""
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(act, job) for job in jobs]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()


def end_all(
    end: Callable[[Scene, Path, Any, str], Ended], scene: Scene, folder: Path, wishes: Sequence[Any], seed: int
) -> tuple[list[Ended], Counter[str]]:
    """Runs that `end` each as wished, in homes of their own, printed; and how many there were of each place."""

    def one(job: tuple[int, Any]) -> Ended:
        home = folder / f"{job[0]:02}"
        home.mkdir()
        return end(scene, home, job[1], f"{seed}-{job[0]}")

    ended = two_at_a_time(one, enumerate(wishes))
    places = Counter(each.place for each in ended)
    print("", *ended, f"{len(ended)} of {len(wishes)} ended as the undisturbed run: {dict(places)}", sep="\n")
    return ended, places


def parts(count: int) -> list[tuple[float, float]]:
    """The whole life of a process, in so many parts: a moment drawn from each reaches all of it."""
    return [(i / count, (i + 1) / count) for i in range(count)]


def reach(process: Process, scene: Scene, wish: Any, rng: random.Random, since: float, until: float) -> bool:
    """Wait for a random moment: in the place of that name, or else in a part of the time from since to until.

    False where the process ended before.
    """
    if wish == "in a save":
        step = 2 * rng.randint(1, STEPS // 2)
        moment = rng.uniform(0, 0.06)
        return process.wait_until(lambda: process.saving == step) and process.wait_age(process.age + moment)
    if wish == "in the first compilation":
        moment = rng.uniform(0, scene.compilation)
        return process.wait_until(lambda: process.compiling) and process.wait_age(process.age + moment)
    if wish == "in the final report":
        moment = rng.uniform(0, 0.5)
        return process.wait_until(lambda: process.saved) and process.wait_age(process.age + moment)
    return process.wait_age(since + rng.uniform(*wish) * (until - since))
