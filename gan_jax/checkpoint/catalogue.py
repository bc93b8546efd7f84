"""Lists and verifies the checkpoints in a directory."""

import contextlib
import math
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError
from .manifest import MANIFEST, Damaged, Manifest, NewerFormatError, Record, read_manifest, verify_checkpoint

ARCHIVED = "archived"  # true in the record of a checkpoint that is kept for good


class Catalogue:
    """The checkpoints of one run in one directory, to be read only.

    Args:
        directory: has a directory `<step>/` for each checkpoint; it need not exist.
        best: `(name, maximize)`. The best checkpoint has the lowest `["metrics"][name]` in its record, or the
            highest if `maximize`.
    """

    def __init__(self, directory: str | os.PathLike[str], *, best: tuple[str, bool] | None = None):
        self.directory = Path(directory).absolute()
        self._best = best
        self.verified: set[int] = set()  # steps this object wrote or verified; their files are not read again

    def steps(self) -> list[int]:
        """Returns the steps that have a checkpoint, ascending, without verifying them."""
        return [step for step in self.all_steps() if (self.step_directory(step) / MANIFEST).is_file()]

    def manifest(self, step: int) -> Manifest:
        """Returns the manifest of one checkpoint.

        Raises:
            UserError: there is no such checkpoint, or its manifest is damaged.
        """
        self.require(step)
        try:
            return read_manifest(self.step_directory(step))
        except Damaged as error:
            raise self.unusable(step, error) from None

    def best(self, among: Iterable[int] | None = None) -> int | None:
        """Returns the step with the best metric; None if `best` was not given or no record has the metric.

        Only records with the same `["protocol"]` as the newest one are compared, because others were measured
        differently. Values that are not finite are ignored. Of equal values the newest step wins.
        """
        if self._best is None:
            return None
        (name, maximize), found = self._best, []
        for step in self.steps() if among is None else among:
            with contextlib.suppress(Damaged, NewerFormatError, OSError):
                record = read_manifest(self.step_directory(step))["record"]
                value = record_metrics(record).get(name, math.nan)
                if math.isfinite(value):
                    found.append((step, value if maximize else -value, record.get("protocol")))
        if not found:
            return None
        newest = max(found)[2]
        return max((value, step) for step, value, protocol in found if protocol == newest)[1]

    def verify(self, step: int) -> str | None:
        """Returns None if all files of the checkpoint are as they were written, else a phrase: what is wrong."""
        try:
            verify_checkpoint(self.step_directory(step), step)
        except Damaged as error:
            return str(error)
        self.verified.add(step)
        return None

    def on_grid(self, steps: Iterable[int]) -> list[int]:
        """Returns those of `steps` whose record has a true `["grid"]`."""
        return self.marked("grid", steps)

    def marked(self, mark: str, steps: Iterable[int]) -> list[int]:
        """Returns those of `steps` whose record has a true value by the name `mark`."""
        found = []
        for step in steps:
            with contextlib.suppress(Damaged, NewerFormatError, OSError):
                if read_manifest(self.step_directory(step))["record"].get(mark):
                    found.append(step)
        return found

    def step_directory(self, step: int) -> Path:
        """Returns the directory of a checkpoint, which need not exist."""
        return self.directory / str(step)

    def all_steps(self) -> list[int]:
        """Returns the steps that have a directory, ascending, including those of unfinished saves."""
        if not self.directory.is_dir():
            return []
        names = [entry.name for entry in self.directory.iterdir() if entry.is_dir() and not entry.is_symlink()]
        return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)

    def require(self, step: int) -> None:
        """Raises UserError if there is no checkpoint of `step`."""
        if step not in (steps := self.steps()):
            others = f"the steps there are {', '.join(map(str, steps))}" if steps else "the directory has none"
            raise UserError(f"there is no checkpoint of step {step} in {self.directory}: {others}")

    def unusable(self, step: int, error: Damaged) -> UserError:
        """Returns the error for a damaged checkpoint that the caller asked for."""
        others = ", ".join(str(other) for other in self.steps() if other != step) or "none"
        return UserError(
            f"the checkpoint of step {step} in {self.directory} cannot be used: {error} (other steps: {others})"
        )


def record_metrics(record: Record) -> dict[str, float]:
    """Returns the metrics of a checkpoint's record by name, without values that are not plain numbers."""
    metrics = record.get("metrics")
    named = metrics.items() if isinstance(metrics, dict) else ()
    largest = sys.float_info.max  # JSON may hold an integer that is beyond any float
    return {
        name: float(value) for name, value in named if type(value) in (int, float) and not abs(value) > largest
    }
