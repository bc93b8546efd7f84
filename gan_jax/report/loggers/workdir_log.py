"""Reads what a run has logged from the files of its workdir, step by step, while the run goes on."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import UserError
from ...files.folder import Folder
from ...files.typed_json import parse_object
from ...metrics.record import EVALUATIONS, Record
from ..sample_files import SAMPLES, step_of
from ..writer import METRICS, parse_row

_NOT_SENT = ("step", "images", "time")  # of a row: `images` is a multiple of the step, `time` begins at each start
_CHUNK = 2**22  # bytes that are read at once, so that a long log never lies in memory
_MOST = 1000  # steps that wait; more are given out first
EVERYTHING = 2**63


class LoggedStep(NamedTuple):
    """What a run logged at one step: finite numbers and PNG files, by name."""

    step: int
    scalars: dict[str, float]
    images: dict[str, Path]


class WorkdirLog:
    """The log of a workdir after a step. `take` returns each part of it once.

    Args:
        workdir: of the run.
        after: the last step of which nothing is wanted.
    """

    def __init__(self, workdir: Path, after: int):
        self._workdir, self._folder, self._after = workdir, Folder(workdir), after
        self._taken: set[str] | None = None  # names of the step `after` that were taken; None: all of them
        self._waiting: dict[int, LoggedStep] = {}
        self._row = -1  # the step of the last row that was read
        self._rows, self._records = (_Lines(self._folder, name) for name in (METRICS, EVALUATIONS))

    def take(self, until: int = EVERYTHING) -> list[LoggedStep]:
        """Returns what was logged up to the step `until` and not taken before, in order.

        A long log comes in several calls; the last one returns nothing.
        """
        # A run writes the row of a step, then its grid and records, then the next row. While it does so, each of
        # the two readings may miss something of a step, and no step may be given out before an earlier one.
        self._read_others()
        known = max(self._waiting, default=-1)
        is_all = self._read_rows(until)
        self._read_others()
        complete = min(until, max(self._row, known) if is_all else self._row)
        steps = sorted(step for step in self._waiting if step <= complete)
        taken = [self._waiting.pop(step) for step in steps]
        if taken:
            last = taken[-1]
            before = self._taken if last.step == self._after and self._taken else set()
            self._after, self._taken = last.step, before | last.scalars.keys() | last.images.keys()
        return taken

    def _read_rows(self, until: int) -> bool:
        """Reads rows until one of `until` or later; returns whether that was reached, or the end of the file."""
        while self._row < until:
            if not (lines := self._rows.read()):
                return True
            for row in _parsed(lines, parse_row):
                self._row = row["step"]
                self._add(self._row, {name: value for name, value in row.items() if name not in _NOT_SENT})
            if sum(step <= self._row for step in self._waiting) > _MOST:
                return self._row >= until
        return True

    def _read_others(self) -> None:
        while lines := self._records.read():
            for record in _parsed(lines, Record.from_json):
                if record.step is not None:
                    self._add(record.step, {f"metrics/{record.metric}": record.value})
        for name in self._folder.names(f"{SAMPLES}/step_*.png"):
            step = step_of(name)
            if step is not None and self._is_new(step, SAMPLES):
                self._at(step).images[SAMPLES] = self._workdir / name

    def _add(self, step: int, numbers: dict[str, float | None]) -> None:
        for name, value in numbers.items():
            if value is not None and math.isfinite(value) and self._is_new(step, name):
                self._at(step).scalars.setdefault(name, value)  # `gan-jax evaluate` may add another one later

    def _is_new(self, step: int, name: str) -> bool:
        return step > self._after or (step == self._after and self._taken is not None and name not in self._taken)

    def _at(self, step: int) -> LoggedStep:
        return self._waiting.setdefault(step, LoggedStep(step, {}, {}))


class _Lines:
    """The complete lines of a file that a run appends to."""

    def __init__(self, folder: Folder, name: str):
        self._folder, self._name, self._at = folder, name, 0

    def read(self) -> list[bytes]:
        """Returns the next lines; none if there are no more by now."""
        try:
            data = self._folder.read_from(self._name, self._at, _CHUNK)
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        return whole.splitlines()


def _parsed(lines: list[bytes], parse: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """Returns the rows that can be used; the run itself says which cannot."""
    rows = []
    for line in lines:
        try:
            rows.append(parse(parse_object(line)))
        except (ValueError, UserError):
            continue
    return rows
