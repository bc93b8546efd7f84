"""Runs `gan-jax train` in a separate process, and finds out what it is doing.

It sees the process only from outside: the clock, what the process printed, and the files in its workdir and cache.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import runs
from gan_jax.checkpoint.manifest import MANIFEST

STEPS = 12
STEP_PROGRAM = "jit_program-"  # the step's program in the cache has a name that begins so


class Process:
    """`gan-jax train CONFIG OVERRIDES --workdir WORKDIR` on CPU devices, with its compiled programs in `cache`."""

    def __init__(self, config: Path, workdir: Path, cache: Path, *overrides: str, devices: int = 1):
        self.workdir, self.cache = workdir, cache
        self._err = workdir.with_name(f"{workdir.name}.err")
        words = [sys.executable, "-m", "gan_jax", "train", str(config), *overrides, "--workdir", str(workdir)]
        # A cache folder of JAX in the environment would replace this one.
        variables = {name: value for name, value in os.environ.items() if "_CACHE_" not in name}
        variables |= {"JAX_PLATFORMS": "cpu", "GAN_JAX_CACHE": str(cache)}
        paths = (config.parent, runs.ROOT, os.environ.get("PYTHONPATH", ""))
        variables["PYTHONPATH"] = os.pathsep.join(str(path) for path in paths if str(path))
        if devices > 1:
            flag = f"--xla_force_host_platform_device_count={devices}"
            variables["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
        with self._err.open("wb") as err:
            self._process = subprocess.Popen(
                words, stdout=subprocess.DEVNULL, stderr=err, env=variables, cwd=runs.ROOT, start_new_session=True
            )
        self._start = time.monotonic()

    @property
    def age(self) -> float:
        return time.monotonic() - self._start

    @property
    def err(self) -> str:
        """What the process wrote to standard error so far."""
        return self._err.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], object], timeout: float = 60.0) -> bool:
        """Waits until `condition()`; returns False when the process ended before."""
        while not condition():
            if self.age > timeout:
                self._give_up(timeout)
            if self._process.poll() is not None:
                return False
            time.sleep(0.001)
        return True

    def wait_age(self, seconds: float) -> bool:
        """Waits until the process is so old; returns False when it ended before."""
        try:
            self._process.wait(max(seconds - self.age, 0.0))
        except subprocess.TimeoutExpired:
            return True
        return False

    def end(self, number: signal.Signals, within: float = 30.0) -> tuple[int, float]:
        """Sends a signal; returns the exit code and the seconds until the end."""
        start = time.monotonic()
        self._process.send_signal(number)
        return self._wait(within), time.monotonic() - start

    def finish(self, timeout: float = 90.0) -> runs.Outcome:
        """Waits until the process ends by itself."""
        return runs.Outcome(self._wait(timeout), "", self.err)

    def _wait(self, timeout: float) -> int:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._give_up(timeout)

    def _give_up(self, timeout: float) -> NoReturn:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        raise AssertionError(f"still running after {timeout} s\n{self.err[-4000:]}")

    # -- what the process is doing

    @property
    def maps(self) -> str:
        """The files that the process has mapped into memory; "" when it has ended."""
        try:
            return Path(f"/proc/{self._process.pid}/maps").read_text()
        except OSError:
            return ""

    @property
    def first_line(self) -> bool:
        """Whether it has printed a line."""
        return "\n" in self.err

    @property
    def compiling(self) -> bool:
        """Whether it is in its first compilation: an empty cache has got a program, but not yet the step's."""
        programs = [path.name for path in self.cache.glob("xla/*/*-cache")]
        return bool(programs) and not any(name.startswith(STEP_PROGRAM) for name in programs)

    @property
    def saving(self) -> int | None:
        """The step that it is saving, by the files in `checkpoints/`; None when it is not."""
        numbered = [int(path.name) for path in self.workdir.glob("checkpoints/*") if path.name.isdecimal()]
        unfinished = [step for step in numbered if not self._complete(step)]
        # An older one without a manifest is being removed.
        return max(unfinished, default=None) if unfinished and max(unfinished) == max(numbered) else None

    @property
    def saved(self) -> bool:
        """Whether the last checkpoint is complete."""
        return (self.workdir / "checkpoints" / str(STEPS) / MANIFEST).exists()

    def _complete(self, step: int) -> bool:
        try:
            names = os.listdir(self.workdir / "checkpoints" / str(step))
        except FileNotFoundError:  # it was removed just now
            return True
        return MANIFEST in names and len(names) == 2  # the other is the folder that Orbax wrote

    def place(self) -> str:
        """Names the part of its work in which it ended, by the files that it left."""
        logged = runs.last_step(self.workdir)
        if self.saving is not None:
            return "in a save"
        if not self.first_line:
            return "before the first line"
        if logged < 0:
            return "in the first compilation" if self.compiling else "before the first step"
        return "in the final report" if self.saved else "between steps"
