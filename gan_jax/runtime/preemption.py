"""Requests to save and stop: SIGTERM, SIGHUP and SIGINT (Ctrl-C), or a part of the program. Imports no JAX."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Self


class Preemption:
    """A context manager that records a signal instead of letting it end the process.

    Schedulers send SIGTERM several times, so another SIGTERM or SIGHUP changes nothing. A second SIGINT does what
    it would do without this: who presses Ctrl-C twice wants the end now. Where `nohup` ignores SIGHUP, it stays
    ignored.

    Python calls the handler between two of its instructions, so it records a signal during a compilation after it.
    Outside the main thread, where Python allows no handler, signals do what they did before.

    Args:
        to_the_end: ignore SIGTERM and SIGHUP after the context: the process ends next, with an exit code that one
            more signal must not change.

    Attributes:
        reason: why the run should stop, such as "SIGTERM came"; None: it should not.
    """

    def __init__(self, to_the_end: bool = False) -> None:
        self.reason: str | None = None
        self._to_the_end, self._interrupts = to_the_end, 0
        self._previous: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def request(self, reason: str) -> None:
        """Asks the run to stop. The first reason stays."""
        self.reason = self.reason or reason

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGTERM, signal.SIGINT]
            if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                numbers.append(signal.SIGHUP)
            self._previous = {number: signal.signal(number, self._record) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            ignored = self._to_the_end and number != signal.SIGINT
            signal.signal(number, signal.SIG_IGN if ignored else handler)
        self._previous = {}

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.request(f"{signal.Signals(number).name} came")
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            signal.signal(number, self._previous[number])
            os.kill(os.getpid(), number)
