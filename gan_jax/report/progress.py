"""Says where a run is, and how long it will take, from the files of its workdir alone."""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..checkpoint.catalogue import Catalogue
from ..files.folder import Folder
from ..files.typed_json import LARGEST_INT, parse_object
from .sample_files import SAMPLES, step_of
from .writer import METRICS, duration, read

QUIET = 120.0  # seconds without news after which a reader is told; longer, where lines of the log come more rarely
_LAST = 20  # rows that the speed is taken from
_LARGEST = 2**24  # bytes of config.json


class Progress(NamedTuple):
    """Where a run is.

    Attributes:
        state: "not begun", "training", "silent" (no news for long: its process may be gone) or "finished".
        step: the newest step that the workdir tells of; 0 for none.
        steps: the last step; None: not known.
        images: seen up to the last line of the log; None: no line.
        speed: images per second, in the last lines; None: not known.
        left: seconds to the last step; None: not known.
        age: seconds since the run last wrote something; None: never.
    """

    state: Literal["not begun", "training", "silent", "finished"]
    step: int
    steps: int | None
    images: float | None
    speed: float | None
    left: float | None
    age: float | None

    def text(self) -> str:
        """Returns one line, such as `step 300 of 1000, 19.2 kimg, 412 images/s, 1:43 left`."""
        parts = [f"step {self.step}" + (f" of {self.steps}" if self.steps is not None else "")]
        parts += [] if self.images is None else [f"{self.images / 1000:g} kimg"]
        parts += [] if self.speed is None else [f"{self.speed:.0f} images/s"]
        if self.state in ("training", "silent") and self.left is not None:
            parts.append(f"{duration(self.left)} left")
        return ", ".join(parts)

    def news(self) -> str:
        """Returns a sentence: whether the run goes on, by what it last wrote."""
        if self.state == "finished":
            return "the run is finished"
        if self.state == "not begun" or self.age is None:
            return "the run has not begun"
        if self.state == "training":
            return f"last news {self.age:.0f} s ago"
        minutes = round(self.age / 60)
        return f"no news for {minutes:,} minutes: if the process has ended, the same command goes on"


def read_config(workdir: Path) -> dict[str, Any]:
    """Returns `config.json` of a workdir as it is; empty if it is not there or is damaged."""
    try:
        return parse_object(Folder(workdir).read("config.json", _LARGEST))
    except (OSError, ValueError):
        return {}


def is_training(workdir: Path) -> bool:
    """Returns whether a process seems to train in the workdir: the run is not at its end, and wrote just now."""
    return read_progress(workdir, read(workdir).rows, read_config(workdir)).state == "training"


def read_progress(
    workdir: Path, rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any], now: float | None = None
) -> Progress:
    """Returns where the run of a workdir is.

    Args:
        workdir: of the run; it need not exist.
        rows: of its log.
        config: its `config.json`; empty if it is damaged.
        now: the time, as `time.time()` gives it.
    """
    steps = config.get("steps")
    steps = steps if type(steps) is int and 0 <= steps < LARGEST_INT else None
    grids = [step_of(name) or 0 for name in Folder(workdir).names(f"{SAMPLES}/step_*.png")]
    saved = Catalogue(workdir / "checkpoints").steps()
    step = max([row["step"] for row in rows[-1:]] + grids + saved, default=0)
    wrote = _last_write(workdir)
    age = None if wrote is None else max(0.0, (time.time() if now is None else now) - wrote)
    pace = _seconds_per_step(rows)
    if not (rows or grids or saved) and not config:
        state = "not begun"
    elif steps is not None and saved and saved[-1] >= steps:
        state = "finished"
    else:
        between = rows[-1]["step"] - rows[-2]["step"] if len(rows) > 1 else 0
        state = "silent" if age is None or age > max(QUIET, 5 * between * (pace or 0.0)) else "training"
    images = rows[-1].get("images") if rows else None
    left = None if pace is None or steps is None else max(steps - step, 0) * pace
    return Progress(state, step, steps, images, _speed(rows), left, age)


def _last_write(workdir: Path) -> float | None:
    """Returns when the run last wrote a line, a grid, a checkpoint or its config."""
    times = []
    for name in (METRICS, SAMPLES, "checkpoints", "config.json"):
        with contextlib.suppress(OSError):
            times.append(os.stat(workdir / name).st_mtime)
    return max(times, default=None)


def _recent(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the last rows that one process wrote: its clock only goes forward."""
    recent: list[Mapping[str, Any]] = []
    for row in reversed(rows[-_LAST:]):
        clock = row.get("time")
        if not isinstance(clock, int | float) or (recent and clock >= recent[-1]["time"]):
            break
        recent.append(row)
    return recent[::-1]


def _seconds_per_step(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns the time of a step, with all that comes between steps; None before the second row of a process."""
    recent = _recent(rows)
    if len(recent) < 2 or recent[-1]["step"] <= recent[0]["step"]:
        return None
    return (recent[-1]["time"] - recent[0]["time"]) / (recent[-1]["step"] - recent[0]["step"])


def _speed(rows: Sequence[Mapping[str, Any]]) -> float | None:
    pace, last = _seconds_per_step(rows), rows[-1] if rows else {}
    if not pace or not isinstance(last.get("images"), int | float) or not last["step"]:
        return None
    return last["images"] / last["step"] / pace
