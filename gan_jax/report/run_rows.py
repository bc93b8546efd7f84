"""The rows of a run's log, read again while the run goes on: only what is new is parsed."""

import os
import sys
from pathlib import Path
from typing import Any

from ..files.folder import Folder
from ..files.json_lines import Rows
from ..files.typed_json import parse_object
from .writer import METRICS, parse_row, read

_CHUNK = 2**24  # bytes


class RunRows:
    """The rows of `metrics.jsonl` of one workdir."""

    def __init__(self, workdir: Path):
        self._workdir, self._folder = Path(workdir), Folder(workdir)
        self._rows: list[dict[str, Any]] = []
        self._file: int | None = None  # the inode; a run that resumes replaces the file
        self._at = 0

    def read(self) -> Rows[dict[str, Any]]:
        """Returns all rows, and a note about lines that are no row, as `writer.read` does."""
        try:
            found = os.stat(self._workdir / METRICS)
        except OSError:
            self._file = None
            return read(self._workdir)
        if found.st_ino != self._file or found.st_size < self._at:
            self._file, self._at, self._rows = found.st_ino, 0, []
        try:
            while data := self._folder.read_from(METRICS, self._at, _CHUNK):
                whole = data[: data.rfind(b"\n") + 1]
                self._rows += [_compact(parse_row(parse_object(line))) for line in whole.splitlines()]
                self._at += len(whole)
                if not whole:
                    break
        except (OSError, ValueError):  # a line is damaged: `read` says which
            self._file = None
            return read(self._workdir)
        return Rows(self._rows, None)


def _compact(row: dict[str, Any]) -> dict[str, Any]:
    """Lets all rows share the names of their values: of a long log they would take half of the memory."""
    return {sys.intern(name): value for name, value in row.items()}
