"""SIGTERM and SIGINT ask a run to save and stop; a second signal ends the process at once. Imports no JAX."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preemption:
    """A context manager that records the first signal instead of letting it end the process.

    Python calls the handler between two of its instructions, so it records a signal during a compilation after it.
    Outside the main thread, where Python allows no handler, this does nothing.

    Attributes:
        signal_name: the name of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._previous: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._record) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _record(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name is None:
            self.signal_name = signal.Signals(number).name
            return
        self.__exit__()  # the second signal does what it would do without us
        os.kill(os.getpid(), number)
