"""Loggers with large packages, in a process of their own.

wandb, Trackio and MLflow take seconds to import. In the process of the run, these seconds would stop the training:
threads of one Python share its lock. So one process beside the run has their threads. The run writes to its
standard input, a JSON object a line, and reads what it says from its standard output.

The process ends at once when its input ends, so none is left of a run that was killed, and no two of them ever
send to one store at the same time.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from .identity import Identity
from .protocol import LoggedRun

_MARGIN = 2.0  # seconds that the process gets to end, beside those that its loggers get
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # of Ctrl-C and of schedulers, for the run alone


class LoggersApart:
    """The loggers of a run that are in a process of their own. It has the methods of a `Follower`.

    Args:
        names: of the loggers.
        run: what is logged.
        identity: keeps what was sent. This process alone writes it.
        checkpoints: whether kept checkpoints are sent too.
        allow: top-level packages that names may come from besides gan_jax; None: any.
        warn: gets notes, in a thread.
    """

    def __init__(
        self,
        names: Iterable[str],
        run: LoggedRun,
        identity: Identity,
        checkpoints: bool,
        allow: Iterable[str] | None,
        warn: Callable[[str], None],
    ):
        self._names, self._identity, self._warn = list(names), identity, warn
        self._unfinished, self._settled, self._failed = list(self._names), -1, False
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = threading.Thread(target=self._read, name="loggers apart", daemon=True)
        self._begin = {
            "names": self._names, "run": {**run._asdict(), "workdir": str(run.workdir)},
            "checkpoints": checkpoints, "allow": None if allow is None else list(allow),
        }  # fmt: skip

    def settle(self, step: int) -> None:
        """Says that all steps up to `step` are settled."""
        self._settled = step
        self._tell(settled=step)

    def wake(self) -> None:
        """Does nothing: these loggers get settled steps alone."""

    def start(self) -> None:
        """Starts the process, if it is not started."""
        if self._process is not None or self._failed:
            return
        kinds = ("sent", "checkpoints")
        last = {name: {kind: self._identity.last(name, kind) for kind in kinds} for name in self._names}
        folders = os.pathsep.join(map(os.path.abspath, sys.path))  # "" is the current one
        variables = {**os.environ, "PYTHONPATH": folders, "JAX_PLATFORMS": "cpu"}
        # The process has these signals blocked from its first instruction on, until it ignores them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._process = subprocess.Popen(  # -P: no file of the current folder stands for a package
                [sys.executable, "-P", "-m", "gan_jax.report.loggers.process"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables,
            )  # fmt: skip
        except OSError as error:  # such as too many processes
            self._failed = True
            self._warn(
                f"note: no process can be started for the loggers {', '.join(self._names)} ({error.strerror}): "
                "the run goes on without them, and the next start of the same command sends what they lack"
            )
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._reader.start()
        self._tell(**self._begin, last=last)
        self._tell(settled=self._settled)

    def begin_close(self, seconds: float) -> None:
        """Lets the process end once everything settled is sent, or the time is up."""
        sent = [self._identity.last(name) for name in self._names]
        if any(last is None or last < self._settled for last in sent):
            self.start()
        self._tell(close=seconds)

    def end_close(self, seconds: float) -> list[str]:
        """Waits for the end of the process; returns the loggers that have not taken everything."""
        process = self._process
        if process is None:
            return []
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds + _MARGIN if seconds else 0.0)
        process.kill()  # does nothing if it has ended
        process.wait()
        self._reader.join(_MARGIN)
        assert process.stdin is not None, "it is a pipe"
        with contextlib.suppress(OSError):
            process.stdin.close()
        return self._unfinished

    def _tell(self, **message: Any) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None, "it is a pipe"
        with contextlib.suppress(OSError):  # it has ended, and `_read` says so
            self._process.stdin.write((json.dumps(message) + "\n").encode())
            self._process.stdin.flush()

    def _keep(self, name: str, step: int, kind: str) -> None:
        try:
            self._identity.keep(name, step, kind)
        except OSError as error:  # the run itself says so, when it writes the next time
            self._warn(f"note: what {name} has sent cannot be written down ({error.strerror})")

    def _read(self) -> None:
        """Reads what the process says, in a thread."""
        assert self._process is not None, "it was started"
        assert self._process.stdout is not None, "it is a pipe"
        with self._process.stdout as lines:
            for line in lines:
                message = json.loads(line)
                if "note" in message:
                    self._warn(message["note"])
                elif "keep" in message:
                    self._keep(*message["keep"])
                elif "unfinished" in message:
                    self._unfinished = message["unfinished"]
                    return
        if (code := self._process.wait()) != -9:  # else this process has killed it
            self._warn(
                f"note: the process of the loggers {', '.join(self._names)} ended (exit code {code}): the run "
                "goes on without them, and the next start of the same command sends what they lack"
            )
