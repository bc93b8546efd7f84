"""Which checkpoints lie in a directory, and what their manifests say."""

import contextlib
import math
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from .manifest import MANIFEST, Damaged, read_manifest, verify_files

_MOST = sys.float_info.max


class Catalogue:
    """The checkpoints of one run, in one directory; nothing is written.

    Args:
        directory: holds a directory `<step>/` for each; it may be missing.
        best: `(name, more)`: the best is the one whose record has the lowest `["metrics"][name]`; with `more` the
            highest.
    """

    def __init__(self, directory: str | os.PathLike[str], *, best: tuple[str, bool] | None = None):
        self.directory = Path(directory).absolute()
        self._best = best
        self._good: set[int] = set()  # written or verified by this object, so that no file is read twice

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending. Nothing is verified."""
        return [step for step in self.numbered() if (self.home(step) / MANIFEST).is_file()]

    def manifest(self, step: int) -> dict[str, Any]:
        """The manifest of one step; `gan_jax.manifest.make_manifest` says what is in it.

        Raises:
            UserError: there is none, or it is damaged.
        """
        self.require(step)
        try:
            return read_manifest(self.home(step))
        except Damaged as error:
            raise self.unusable(step, error) from None

    def best(self, among: Iterable[int] | None = None) -> int | None:
        """The step with the best number, by the `best` this was made with; None where no record has one.

        Numbers are compared with those of the newest `["protocol"]` alone: others were measured otherwise. The
        newest of equals; a number that is not finite is none.
        """
        if self._best is None:
            return None
        (name, more), found = self._best, []
        for step in self.steps() if among is None else among:
            with contextlib.suppress(Damaged, OSError):
                record = read_manifest(self.home(step))["record"]
                value = numbers(record).get(name, math.nan)
                if math.isfinite(value):
                    found.append((step, value if more else -value, record.get("protocol")))
        if not found:
            return None
        newest = max(found)[2]
        return max((value, step) for step, value, protocol in found if protocol == newest)[1]

    def verify(self, step: int) -> str | None:
        """None if every file of the checkpoint is as it was written, else a phrase that says what is wrong."""
        try:
            verify_files(self.home(step), step)
        except Damaged as error:
            return str(error)
        self._good.add(step)
        return None

    def on_grid(self, steps: Iterable[int]) -> list[int]:
        """Those of `steps` whose record has a true `["grid"]`."""
        found = []
        for step in steps:
            with contextlib.suppress(Damaged, OSError):
                if read_manifest(self.home(step))["record"].get("grid"):
                    found.append(step)
        return found

    def home(self, step: int) -> Path:
        """The directory of a checkpoint, there or not."""
        return self.directory / str(step)

    def numbered(self) -> list[int]:
        """Every directory with the name of a step, finished or not."""
        if not self.directory.is_dir():
            return []
        names = [entry.name for entry in self.directory.iterdir() if entry.is_dir() and not entry.is_symlink()]
        return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)

    def require(self, step: int) -> None:
        """Raises UserError where there is no checkpoint of that step."""
        if step not in (steps := self.steps()):
            there = f"the steps there are {', '.join(map(str, steps))}" if steps else "there is none at all"
            raise UserError(f"there is no checkpoint of step {step} in {self.directory}: {there}")

    def unusable(self, step: int, error: Damaged) -> UserError:
        """The sentence for a checkpoint that was asked for and is damaged."""
        others = ", ".join(str(other) for other in self.steps() if other != step) or "none"
        return UserError(
            f"the checkpoint of step {step} in {self.directory} cannot be used: {error} (other steps: {others})"
        )


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a checkpoint's record, by name; a record from elsewhere may hold anything."""
    metrics = record.get("metrics")
    named = metrics.items() if isinstance(metrics, dict) else ()
    return {name: float(value) for name, value in named if type(value) in (int, float) and not abs(value) > _MOST}
