"""The log of a run while it trains: the progress line and `metrics.jsonl`."""

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, SupportsFloat, TextIO

from ..errors import printable
from ..files import json_lines
from ..files.folder import Folder
from ..files.typed_json import LARGEST_INT, check
from .sample_files import SAMPLES, step_of

METRICS = "metrics.jsonl"
_NUMBERS = (int, float, type(None))


def _number(value: SupportsFloat) -> float | int:
    """Returns a scalar of any library as a plain Python number; integers stay integers."""
    item = getattr(value, "item", None)
    number = value if item is None else item()
    return number if isinstance(number, int) else float(number)


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Returns a time as `m:ss` or `h:mm:ss`, rounded up."""
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Writer:
    """Writes the log of a run from `start_step` on.

    - `metrics.jsonl` gets one strict JSON object a line: the values, `step`, `images` (seen since step 0), `time`
      (seconds since this Writer was made) and `images_per_second` (since the previous line). A value that is not
      finite becomes null.
    - `stream` gets the progress line. On a terminal it is rewritten in place, elsewhere each one is a new line.
      The first one has no speed and no remaining time, because its time is mostly compilation.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        start_step: int,
        total_steps: int,
        images_per_step: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        workdir = Path(workdir)
        self._total, self._images_per_step = total_steps, images_per_step
        self._stream, self._now = sys.stderr if stream is None else stream, clock
        self._on_terminal = self._stream.isatty()
        self._line = ""  # the progress line that the terminal shows now
        self._start_time = self._last_time = clock()
        self._last_step = start_step
        self._first: tuple[int, float] | None = None  # step and time of the first line, where compilation is over
        self._file = Folder(workdir).append(METRICS)

    def write(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        """Writes one line of metrics after `step` steps of the run."""
        numbers = {name: _number(value) for name, value in values.items()}
        now = self._now()
        steps, seconds = step - self._last_step, now - self._last_time
        speed = steps * self._images_per_step / seconds if seconds > 0 else 0.0
        row = {
            **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
            "step": step,
            "images": step * self._images_per_step,
            "time": round(now - self._start_time, 3),
            "images_per_second": round(speed, 3),
        }
        self._file.write((json.dumps(row, sort_keys=True, allow_nan=False) + "\n").encode())
        self._file.flush()
        self._first = self._first or (step, now)
        self._last_step, self._last_time = step, now
        self._progress(step, speed, self._seconds_left(step, now), numbers)

    def _seconds_left(self, step: int, now: float) -> float | None:
        """Estimates the remaining time from the pace since the first line; None at the first line."""
        first_step, first_time = self._first or (step, now)
        if step <= first_step:
            return None
        return max(self._total - step, 0) * (now - first_time) / (step - first_step)

    def _progress(self, step: int, speed: float, left: float | None, numbers: Mapping[str, float]) -> None:
        text = f"step {step}/{self._total}"
        text += "" if left is None else f"  images/s {speed:.0f}  left {duration(left)}"
        players = (("G", "loss/generator"), ("D", "loss/discriminator"))
        losses = " ".join(f"{player} {_short(numbers[name])}" for player, name in players if name in numbers)
        text += f"  loss {losses}" if losses else ""
        if not self._on_terminal:
            print(text, file=self._stream, flush=True)
            return
        self._show(text[: shutil.get_terminal_size().columns - 1])  # a line that wraps can't be rewritten

    def _show(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(len(self._line)))
        self._stream.flush()
        self._line = text

    def message(self, text: str) -> None:
        """Prints a separate line; on a terminal the progress line moves below it."""
        text = "\n".join(map(printable, text.split("\n")))
        line = self._line
        if line:
            self._show("")
            self._stream.write("\r")
        print(text, file=self._stream, flush=True)
        if line:
            self._show(line)

    def close(self) -> None:
        """Ends the progress line and closes the file. A second call does nothing."""
        if self._line:
            print(file=self._stream, flush=True)
            self._line = ""
        self._file.close()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read(workdir: Path) -> json_lines.Rows[dict[str, Any]]:
    """Returns the rows of a run's `metrics.jsonl`, and a note about lines that are no row."""
    return json_lines.read(Folder(workdir), METRICS, parse_row)


def parse_row(row: dict[str, Any]) -> dict[str, Any]:
    """Returns the row; raises ValueError if `Writer` did not write it."""
    step = row.get("step")
    if not (
        type(step) is int and 0 <= step < LARGEST_INT and all(type(value) in _NUMBERS for value in row.values())
    ):
        check(row, dict[str, float | None], "it")  # it says what is wrong
        check(step, int, "step")
    return row


def rewind(workdir: Path, step: int) -> str | None:
    """Removes what a killed process wrote after `step`, so that a resumed run's log has no gap and no repetition.

    These are later lines of `metrics.jsonl`, an incomplete last line, and sample grids of later steps with what
    lies beside them (`samples/step_00000300.png`, `.gif`, `_0.wav`).

    Returns:
        A note about lines of the log that are no row, or None.
    """
    folder = Folder(workdir)
    note = json_lines.rewind(folder, METRICS, parse_row, lambda row: row["step"] <= step)
    for name in folder.names(f"{SAMPLES}/step_*"):
        if (step_of(name) or 0) > step:
            folder.remove(name)
    return note
