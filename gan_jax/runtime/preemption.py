"""SIGTERM and SIGINT ask a run to save and stop; a second one ends the process at once. Imports no JAX."""

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preemption:
    """A context manager in which the first signal is only noted.

    A handler runs between two instructions of Python: what comes during a compilation is noted after it.
    Outside of the main thread, where none can be set, it does nothing.

    Attributes:
        asked: the name of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked = signal.Signals(number).name
            return
        self.__exit__()  # twice means now: what would have happened without us
        os.kill(os.getpid(), number)
