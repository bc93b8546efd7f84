"""All loggers of one run: tells each of them what is new, and says what went wrong with one."""

import queue
import time
from collections.abc import Callable
from pathlib import Path

from ... import config as configs
from ...config import Config
from ...config.build import Allow
from .apart import LoggersApart
from .choose import find_loggers, package_of
from .follower import Follower
from .identity import Identity
from .protocol import LoggedRun

FINISHED_SECONDS = 60.0  # how long the end of a run waits for all loggers together
STOPPED_SECONDS = 5.0  # a run that is stopped has little time; the next start sends the rest


class Loggers:
    """The loggers of a run. A context manager; only its end waits for a store.

    Each has a thread of its own, those with large packages in a process of their own. They start after the first
    step.

    Args:
        config: of the run.
        workdir: of the run; its log is cut back to `step` already.
        step: the step that this process goes on from.
        say: prints a line. It is called in the caller's thread only.
        allow: top-level packages that names may come from besides gan_jax; None: any.
    """

    def __init__(self, config: Config, workdir: Path, step: int, say: Callable[[str], None], allow: Allow = None):
        self._say, self._step, self._steps, self._settled = say, step, config.steps, -1
        self._warnings: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._followers: list[Follower | LoggersApart] = []
        if not (found := find_loggers(config, allow)):
            return
        workdir = Path(workdir).absolute()
        identity = Identity(workdir)
        if identity.note:
            say(identity.note)
        run = LoggedRun(identity.id, identity.name, workdir, configs.to_json(config), step, config.steps)
        checkpoints, warn = config.log.checkpoints, self._warnings.put
        apart = [name for name, make in found.items() if package_of(make)]
        here = {name: make for name, make in found.items() if name not in apart}
        self._followers += [Follower(name, make, run, identity, checkpoints, warn) for name, make in here.items()]
        if apart:
            self._followers.append(LoggersApart(apart, run, identity, checkpoints, allow, warn))

    def line_written(self) -> None:
        """Says that the log has a new line. The first one starts the threads."""
        for follower in self._followers:
            follower.start()
        self.wake()

    def wake(self) -> None:
        """Says that the workdir has something new, such as a sample grid."""
        for follower in self._followers:
            follower.wake()
        self._say_warnings()

    def settle(self, step: int) -> None:
        """Says that no kill can undo the steps up to `step`, and that all they log is written.

        After the last step the loggers begin to end, so that those of several runs do so at the same time.
        """
        if step == self._settled:
            return
        self._settled = step
        for follower in self._followers:
            follower.settle(step)
            if step > self._step:
                follower.start()
                if step >= self._steps:
                    follower.begin_close(FINISHED_SECONDS)
        self._say_warnings()

    def __enter__(self) -> "Loggers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        at_once = kind is not None and not issubclass(kind, Exception)  # a second Ctrl-C
        self._close(0.0 if at_once else FINISHED_SECONDS if self._settled >= self._steps else STOPPED_SECONDS)

    def _close(self, seconds: float) -> None:
        """Waits until everything settled is sent, but not for ever."""
        until = time.monotonic() + seconds
        for follower in self._followers:
            follower.begin_close(seconds)
        for follower in self._followers:
            for name in follower.end_close(max(0.0, until - time.monotonic())):
                self._say(
                    f"note: the logger {name} has not taken everything within {seconds:g} s: the next "
                    "start of the same command sends the rest"
                )
        self._followers = []
        self._say_warnings()

    def _say_warnings(self) -> None:
        while not self._warnings.empty():
            self._say(self._warnings.get())
