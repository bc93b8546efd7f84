"""What a run says while it goes: the progress line, `metrics.jsonl` and TensorBoard events."""

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

METRICS = "metrics.jsonl"
SAMPLES = "samples"


def _number(value: Any) -> float | int:
    """A plain Python number of a scalar of any library; integers stay integers."""
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, int) else float(value)


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:.3g}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Writer:
    """Writes the metrics of one process's share of a run, from `start_step` on.

    `metrics.jsonl` gets one strict JSON object a line: the values, `step`, `images` (seen since step 0),
    `time` (seconds since this Writer was made) and `images_per_second` (since the line before). What is not
    finite is null. TensorBoard events go to `tensorboard/`; those an earlier process left past `start_step`
    are purged. They begin with the first line of metrics: tensorboardX is slow to import, and the first step
    needn't wait for it.
    The progress line goes to `stream`: in place on a terminal, else a line each. The first one says no speed and
    no time left.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        start_step: int,
        total_steps: int,
        images_per_step: int,
        tensorboard: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        workdir = Path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        self._total, self._images_per_step = total_steps, images_per_step
        self._stream, self._now = sys.stderr if stream is None else stream, clock
        self._on_terminal = self._stream.isatty()
        self._line = ""  # the progress line now on the terminal
        self._began = self._last_time = clock()
        self._last_step = start_step
        self._first: tuple[int, float] | None = None  # the first line: what comes after is without compilation
        self._file = open(workdir / METRICS, "a", encoding="utf-8")  # noqa: SIM115
        self._tensorboard = (str(workdir / "tensorboard"), start_step + 1) if tensorboard else None
        self._events: Any = None
        self._early: list[tuple[int, str, np.ndarray]] = []  # pictures from before the first line

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """One line of metrics after `step` steps of the run."""
        numbers = {name: _number(value) for name, value in values.items()}
        self._open_events()
        now = self._now()
        steps, seconds = step - self._last_step, now - self._last_time
        speed = steps * self._images_per_step / seconds if seconds > 0 else 0.0
        row = {
            **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
            "step": step,
            "images": step * self._images_per_step,
            "time": round(now - self._began, 3),
            "images_per_second": round(speed, 3),
        }
        self._file.write(json.dumps(row, sort_keys=True, allow_nan=False) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in {**numbers, "images_per_second": speed}.items():
                if math.isfinite(value):
                    self._events.add_scalar(name, value, step)
        self._first = self._first or (step, now)
        self._last_step, self._last_time = step, now
        self._progress(step, speed, self._left(step, now), numbers)

    def _left(self, step: int, now: float) -> float | None:
        """Seconds, at the pace since the first line; None at the first, whose time is mostly compilation."""
        first_step, first_time = self._first or (step, now)
        if step <= first_step:
            return None
        return max(self._total - step, 0) * (now - first_time) / (step - first_step)

    def _progress(self, step: int, speed: float, left: float | None, numbers: Mapping[str, float]) -> None:
        text = f"step {step}/{self._total}"
        text += "" if left is None else f"  images/s {speed:.0f}  left {_clock(left)}"
        players = (("G", "loss/generator"), ("D", "loss/discriminator"))
        losses = " ".join(f"{player} {_short(numbers[name])}" for player, name in players if name in numbers)
        text += f"  loss {losses}" if losses else ""
        if not self._on_terminal:
            print(text, file=self._stream, flush=True)
            return
        self._show(text[: shutil.get_terminal_size().columns - 1])  # a wrapped line can't be rewritten

    def _show(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(len(self._line)))
        self._stream.flush()
        self._line = text

    def image(self, step: int, tag: str, array: np.ndarray) -> None:
        """A picture, uint8 `[H, W, C]`, for TensorBoard."""
        if self._events is not None:
            self._events.add_image(tag, array, step, dataformats="HWC")
        elif self._tensorboard:
            self._early.append((step, tag, array))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers that are no part of the log's lines, for TensorBoard."""
        self._open_events()
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def _open_events(self) -> None:
        if self._tensorboard is None or self._events is not None:
            return
        from tensorboardX import SummaryWriter

        folder, purge_step = self._tensorboard
        self._events = SummaryWriter(folder, purge_step=purge_step)
        early, self._early = self._early, []
        for picture in early:
            self.image(*picture)

    def message(self, text: str) -> None:
        """A whole line of its own; a progress line in place moves below it."""
        line = self._line
        if line:
            self._show("")
            self._stream.write("\r")
        print(text, file=self._stream, flush=True)
        if line:
            self._show(line)

    def close(self) -> None:
        """Ends the progress line and closes the files; again is harmless."""
        if self._line:
            print(file=self._stream, flush=True)
            self._line = ""
        self._file.close()
        if self._early:
            self._open_events()
        if self._events is not None:
            self._events.close()
        self._events = self._tensorboard = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read(workdir: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, without what is torn."""
    path = Path(workdir) / METRICS
    lines = path.read_bytes().splitlines() if path.exists() else []
    rows = [_row(line) for line in lines]
    return [row for row in rows if row is not None]


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:  # also bytes that are no UTF-8
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def rewind(workdir: Path, step: int) -> None:
    """Drops what a killed process wrote past `step`, so that a resumed run's log has no hole and no repeat.

    That is: later lines of `metrics.jsonl`, a torn last one, and `samples/step_00000300.png` of a later step.
    TensorBoard hides its own later events by the `purge_step` that `Writer` gives.
    """
    path = Path(workdir) / METRICS
    if path.exists():
        before = path.read_bytes()
        lines = before.splitlines()
        rows = [_row(line) for line in lines]
        last = len(lines) - 1
        # A line in the middle that can't be read is not ours to judge: it stays.
        keep = [
            line
            for i, (line, row) in enumerate(zip(lines, rows))
            if (row is None and i < last) or (row is not None and row["step"] <= step)
        ]
        after = b"".join(line + b"\n" for line in keep)
        if after != before:
            _replace(path, after)
    for picture in (Path(workdir) / SAMPLES).glob("step_*.png"):
        number = picture.stem.removeprefix("step_")
        if number.isdigit() and int(number) > step:
            picture.unlink()


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
