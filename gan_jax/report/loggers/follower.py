"""Follows the files of a run in a thread, and sends what is settled to one logger."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ...checkpoint.catalogue import ARCHIVED, Catalogue
from ...errors import first_line, one_line
from .protocol import LoggedRun, RunLogger
from .workdir_log import EVERYTHING, WorkdirLog

# One logger starts at a time. They import large packages, and threads of Python 3.11 that read syntax trees at the
# same time fail with "AST constructor recursion depth mismatch". A store that hangs holds up the others this long:
_starts, _PATIENCE = threading.Lock(), 30.0
_FIRST_WAIT, _LONGEST_WAIT = 60.0, 1800.0  # seconds until a logger that failed is tried again


class Kept(Protocol):
    """Keeps the last step that each logger has sent; see `Identity`."""

    def last(self, logger: str, kind: str = "sent") -> int | None: ...

    def keep(self, logger: str, step: int, kind: str = "sent") -> None: ...


class Follower:
    """Sends the log of a run to one logger; see `gan_jax.report.loggers` for how each step is sent once.

    Args:
        name: of the logger, for notes and for `loggers.json`.
        make: returns the logger; called in the thread.
        run: what is logged.
        identity: keeps what was sent: an `Identity`, or what stands for one in another process.
        checkpoints: whether kept checkpoints are sent too.
        warn: gets a note, in the thread.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], RunLogger],
        run: LoggedRun,
        identity: Kept,
        checkpoints: bool,
        warn: Callable[[str], None],
    ):
        self.name = name
        self._make, self._run, self._identity, self._warn = make, run, identity, warn
        self._checkpoints = checkpoints
        self._news, self._settled = threading.Event(), -1
        self._closing, self._abandoned, self._warned = threading.Event(), False, False
        # A daemon: a store that hangs must not keep the process.
        self._thread = threading.Thread(target=self._follow, name=f"logger {name}", daemon=True)
        self._started = False

    def settle(self, step: int) -> None:
        """Says that all steps up to `step` are settled."""
        self._settled = step
        self._news.set()

    def wake(self) -> None:
        """Says that the files have something new."""
        self._news.set()

    def start(self) -> None:
        """Starts the thread, if it is not started."""
        if not self._started:
            self._started = True
            self._thread.start()

    def lacks(self, step: int) -> bool:
        """Returns whether, by the workdir's notes, something up to `step` was not sent yet."""
        sent = self._identity.last(self.name)
        return sent is None or sent < step

    def begin_close(self, seconds: float) -> None:
        """Lets the thread end once everything settled is sent. `seconds`: see `end_close`."""
        if not self._started and self.lacks(self._settled):
            self.start()
        self._closing.set()
        self._news.set()

    def end_close(self, seconds: float) -> list[str]:
        """Waits for the end of the thread, after which nothing more is sent; returns `[name]` if it goes on."""
        if self._started:
            self._thread.join(seconds)
        self._abandoned = True
        return [self.name] if self._thread.is_alive() else []

    def _follow(self) -> None:
        """Sends the log until the run ends. A logger that fails is tried again, more and more rarely."""
        wait = _FIRST_WAIT
        while True:
            closing = self._closing.is_set()
            try:
                logger = self._make()
                try:
                    self._send(logger)
                finally:
                    logger.close(self._settled >= self._run.steps)
                return
            # Also an exit or an interrupt: a package of a stranger must not end the run.
            except BaseException as error:
                self._warn_once(error)
            if closing or self._abandoned:
                return
            self._closing.wait(wait)  # and one last time when the run ends
            wait = min(2 * wait, _LONGEST_WAIT)

    def _warn_once(self, error: BaseException) -> None:
        if not self._warned:
            self._warned = True
            reason = first_line(error) if isinstance(error, Exception) else type(error).__name__
            kind = "" if type(error).__name__ in reason else f"{type(error).__name__}: "
            self._warn(
                f"note: the logger {self.name} failed ({one_line(kind + reason, 300)}): the run goes on, and "
                "tries again from time to time; the next start of the same command sends what it lacks"
            )

    def _send(self, logger: RunLogger) -> None:
        alone = _starts.acquire(timeout=_PATIENCE)
        try:
            last = logger.start(self._run, self._identity.last(self.name))
        finally:
            if alone:
                _starts.release()
        # Also if it is less than before: a kill may come before a live logger sends again what it has taken back.
        if self._identity.last(self.name) != last:
            self._identity.keep(self.name, last)
        log = WorkdirLog(self._run.workdir, last)
        while True:
            self._news.clear()
            closing, settled = self._closing.is_set(), self._settled
            while part := log.take(EVERYTHING if logger.live else settled):
                for logged in part:
                    if self._abandoned:
                        return
                    logger.log(*logged)
                logger.flush()
            if self._checkpoints:
                self._send_checkpoints(logger, settled)
            if self.lacks(settled):
                self._identity.keep(self.name, settled)
            if closing:
                return
            self._news.wait()

    def _send_checkpoints(self, logger: RunLogger, settled: int) -> None:
        """Sends the checkpoints that are kept for good, and that of the last step. No later save removes them."""
        last = self._identity.last(self.name, "checkpoints")
        catalogue = Catalogue(self._run.workdir / "checkpoints")
        steps = [step for step in catalogue.steps() if (-1 if last is None else last) < step <= settled]
        archived = catalogue.marked(ARCHIVED, steps)
        for step in steps:
            if step in archived or step == self._run.steps:
                logger.checkpoint(step, Path(catalogue.step_directory(step)))
                logger.flush()
                self._identity.keep(self.name, step, "checkpoints")
