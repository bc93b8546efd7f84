"""A run as text for a terminal: how far it is, its losses as small charts, its metrics, its newest grid."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from ..errors import one_line
from ..files.folder import Folder
from ..metrics.record import Record, readable
from .progress import Progress
from .sample_files import SAMPLES, step_of

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # bits of a braille character: column, row
_HEIGHT = 4  # lines of a chart
_PLAYERS = (("G", "loss/generator"), ("D", "loss/discriminator"))


def dot_chart(values: Sequence[float | None], width: int, height: int = _HEIGHT) -> list[str]:
    """Draws numbers as a curve of dots, 2 x 4 in a character; None and what is not finite is a gap.

    Args:
        values: in order, at even distances over the whole width. Of many the lowest and the highest are shown.
        width, height: of the chart, in characters.
    """
    finite = [value for value in values if _is_finite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    rows, columns = 4 * height, 2 * width
    cells = [[0] * width for _ in range(height)]
    before: int | None = None  # the level of the column to the left
    for column in range(columns if values else 0):
        at, to = (edge * len(values) // columns for edge in (column, column + 1))
        shown = [value for value in values[at : max(to, at + 1)] if _is_finite(value)]
        levels = [round((v - low) / (high - low) * (rows - 1)) if high > low else rows // 2 for v in shown]
        if levels:
            joined = [*levels, *([] if before is None else [before])]
            for level in range(min(joined), max(joined) + 1):
                down = rows - 1 - level
                cells[down // 4][column // 2] |= _DOTS[column % 2][down % 4]
        before = levels[-1] if levels else None
    return ["".join(chr(0x2800 + cell) for cell in line) for line in cells]


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def run_text(
    workdir: Path,
    progress: Progress,
    rows: Sequence[Mapping[str, Any]],
    records: Sequence[Record],
    config: Mapping[str, Any],
    notes: Sequence[str | None] = (),
    width: int = 80,
) -> list[str]:
    """Returns the lines that show a run.

    Args:
        workdir: of the run.
        progress: where it is.
        rows: of its log.
        records: its measurements.
        config: its `config.json`; empty if there is none.
        notes: on files that could not be used; None is left out.
        width: of charts and of the bar, at most.
    """
    name = str(config.get("name") or Path(workdir).name)
    lines = [
        f"{one_line(name)}  {one_line(workdir)}",
        *_bar(progress, width),
        f"{progress.text()}; {progress.news()}",
    ]
    lines += map(one_line, filter(None, notes))
    for player, key in _PLAYERS:
        values = [row[key] for row in rows if key in row]
        if values:
            finite = [value for value in values if _is_finite(value)]
            shown = f"{values[-1]:.4g}" if _is_finite(values[-1]) else "not finite"
            between = f"  ({min(finite):.4g} to {max(finite):.4g})" if finite else ""
            lines += ["", f"loss {player} {shown}{between}", *dot_chart(values, max(8, min(width, 76)))]
    lines += _metrics(records)
    grids = [found for found in Folder(workdir).names(f"{SAMPLES}/step_*.png") if step_of(found) is not None]
    if grids:
        lines += ["", f"newest grid  {workdir / max(grids, key=lambda grid: step_of(grid) or 0)}"]
    return lines


def _bar(progress: Progress, width: int) -> list[str]:
    if not progress.steps:
        return []
    share = min(1.0, progress.step / progress.steps)
    room = max(10, min(60, width - 8))
    full = int(share * room)
    return [f"{'█' * full}{'░' * (room - full)} {share:4.0%}"]


def _metrics(records: Sequence[Record]) -> list[str]:
    """Returns the newest value of each metric, and the steps and values before it."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.step is not None:
            found.setdefault((record.metric, record.features), []).append(record)
    lines = []
    for (metric, features), measured in found.items():
        measured.sort(key=lambda record: record.step or 0)
        before = ", ".join(f"{readable(one.value)} at {one.step}" for one in measured[-4:-1])
        last = measured[-1]
        text = f"{one_line(metric)} {readable(last.value)} at step {last.step} ({one_line(features)})"
        lines.append(text + (f"; before: {before}" if before else ""))
    return ["", *lines] if lines else []
