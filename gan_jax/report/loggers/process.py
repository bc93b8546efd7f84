"""The process beside a run that has its loggers with large packages; see `apart.py`."""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from .apart import SIGNALS
from .choose import find
from .follower import Follower
from .protocol import LoggedRun


class _Kept:
    """What was sent, as the process of the run keeps it: it is told of each change."""

    def __init__(self, last: dict[str, dict[str, int | None]], tell: "_Tell"):
        self._last, self._tell = last, tell

    def last(self, logger: str, kind: str = "sent") -> int | None:
        return self._last[logger][kind]

    def keep(self, logger: str, step: int, kind: str = "sent") -> None:
        self._last[logger][kind] = step
        self._tell(keep=[logger, step, kind])


class _Tell:
    """Writes a JSON object a line to what was standard output, which then is the null device.

    Packages print advice there, and only the run reads it.
    """

    def __init__(self) -> None:
        self._file, self._lock = os.fdopen(os.dup(1), "w"), threading.Lock()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)

    def __call__(self, **message: Any) -> None:
        with self._lock:
            self._file.write(json.dumps(message) + "\n")
            self._file.flush()


def main() -> None:
    """Follows one run until its process says that it ends, or is gone."""
    # Ctrl-C and a scheduler's signals go to all processes of the run, which says itself when it ends.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    tell, lines = _Tell(), iter(sys.stdin)
    begin = json.loads(next(lines))
    run = LoggedRun(**{**begin["run"], "workdir": Path(begin["run"]["workdir"])})
    kept = _Kept(begin["last"], tell)
    followers = [
        Follower(name, find(name, begin["allow"]), run, kept, begin["checkpoints"], lambda text: tell(note=text))
        for name in begin["names"]
    ]
    for line in lines:
        message = json.loads(line)
        for follower in followers:
            if "settled" in message:
                follower.settle(message["settled"])
                follower.start()
            else:
                follower.begin_close(message["close"])
        if "close" in message:
            break
    else:
        os._exit(1)  # the run is gone; another process may send the next moment
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    unfinished = [name for follower in followers for name in follower.end_close(message["close"])]
    tell(unfinished=unfinished)
    if unfinished:
        os._exit(0)


def _end_with_the_run() -> None:
    """Ends this process when its input ends, while it waits for its loggers."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
