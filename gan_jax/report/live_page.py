"""The page of a run while it trains: written again and again, at a cost of about 1% of the time."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .page import page
from .run_rows import RunRows

_SHARE = 100  # a page that took 10 ms to write is written again after 1 s at the earliest
_LINES = 10.0  # seconds between pages that show only another line of the log


class LivePage:
    """Writes `report.html` while a run trains. A page that is open in a browser reloads itself.

    Args:
        workdir: of the run.
        legends: see `gan_jax.report.legends.make_legends`.
        clock: returns seconds.
    """

    def __init__(self, workdir: Path, legends: Mapping[str, str], clock: Callable[[], float] = time.monotonic):
        self._workdir, self._legends, self._now = workdir, legends, clock
        self._rows = RunRows(workdir)
        self._wrote, self._cost = -float("inf"), 0.0

    def refresh(self, is_line: bool = False) -> None:
        """Writes the page, unless the last one is too new. `is_line`: only a line of the log is new."""
        wait = max(_SHARE * self._cost, _LINES if is_line else 0.0)
        start = self._now()
        if start - self._wrote < wait:
            return
        page(self._workdir, self._legends, live=True, rows=self._rows)
        self._wrote = self._now()
        self._cost = self._wrote - start

    def finish(self) -> Path:
        """Writes the page of a run that has ended, which does not reload itself; returns its path."""
        return page(self._workdir, self._legends)
