"""Where the time goes from the start of the process to the first step."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any


def process_age() -> float:
    """Seconds since this process was started; 0 where the system doesn't tell."""
    try:
        with open("/proc/self/stat") as file:
            # The name, in brackets, may hold spaces; the start is field 22, in ticks since the machine's.
            started = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0


class Timings:
    """Seconds of each phase of a start, one after the other, and of what ran beside them.

    Made at any time, it counts from the start of the process; the first phase is all there was before.
    """

    def __init__(self, age: float | None = None):
        self._began = self._last = time.perf_counter() - (process_age() if age is None else age)
        self._phases: dict[str, float] = {}
        self._beside: dict[str, float] = {}

    def phase(self, name: str) -> None:
        """What went by since the last call belongs to `name`."""
        now = time.perf_counter()
        self._phases[name] = self._phases.get(name, 0.0) + now - self._last
        self._last = now

    @contextlib.contextmanager
    def beside(self, name: str) -> Iterator[None]:
        """Times a block that runs in another thread, beside the phases."""
        began = time.perf_counter()
        yield
        self._beside[name] = time.perf_counter() - began

    def summary(self) -> dict[str, Any]:
        """`total`, the seconds up to the last phase's end; `phases`, that add up to it; `beside`."""
        rounded = {
            name: {key: round(value, 3) for key, value in times.items()}
            for name, times in (("phases", self._phases), ("beside", self._beside))
        }
        return {"total": round(self._last - self._began, 3), **rounded}
