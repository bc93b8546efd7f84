"""Measures where the time goes from the start of the process to the first step."""

import contextlib
import os
import time
from collections.abc import Iterator


def process_age() -> float:
    """Returns the seconds since this process started, or 0 where the system does not tell."""
    try:
        with open("/proc/self/stat") as file:
            # The program's name stands in brackets and may hold spaces. Field 22 is the start in ticks since boot.
            started = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0


class Timings:
    """The seconds of each phase of a start, one after the other, and of the work in other threads beside them.

    The first phase begins at the start of the process, whenever this object is created.
    """

    def __init__(self, age: float | None = None):
        self._start = self._last = time.perf_counter() - (process_age() if age is None else age)
        self._phases: dict[str, float] = {}
        self._beside: dict[str, float] = {}

    def phase(self, name: str) -> None:
        """Adds the time since the previous call to phase `name`."""
        now = time.perf_counter()
        self._phases[name] = self._phases.get(name, 0.0) + now - self._last
        self._last = now

    @contextlib.contextmanager
    def beside(self, name: str) -> Iterator[None]:
        """Times a block that runs in another thread, beside the phases."""
        start = time.perf_counter()
        yield
        self._beside[name] = time.perf_counter() - start

    def summary(self) -> dict[str, float | dict[str, float]]:
        """Returns `total`, the seconds to the end of the last phase; `phases`, which add up to it; `beside`."""
        return {
            "total": round(self._last - self._start, 3),
            "phases": {name: round(seconds, 3) for name, seconds in self._phases.items()},
            "beside": {name: round(seconds, 3) for name, seconds in self._beside.items()},
        }
