"""Files of one JSON object a line, which runs append to: `metrics.jsonl` and `evaluations.jsonl`.

A process that is killed may leave an incomplete last line. Other lines that cannot be read were not left by a
kill: they stay in the file, and the reader is told.
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from ..errors import one_line
from .folder import Folder
from .typed_json import parse_object

Row = TypeVar("Row")
_LARGEST_BYTES = 2**31  # millions of rows


class Rows(NamedTuple, Generic[Row]):
    """The rows of a file, in order, and a sentence about the lines that were left out, or None."""

    rows: list[Row]
    note: str | None


def read(folder: Folder, name: str, parse: Callable[[dict[str, Any]], Row]) -> Rows[Row]:
    """Reads the rows of a file; none if there is no file.

    Args:
        parse: turns an object into a row, or raises ValueError with what is wrong.
    """
    parsed, _ = _parse_lines(folder, name, parse)
    return Rows([row for _, row in parsed if not isinstance(row, ValueError)], _note(folder, name, parsed))


def rewind(
    folder: Folder, name: str, parse: Callable[[dict[str, Any]], Row], keep: Callable[[Row], bool]
) -> str | None:
    """Removes the rows that are not to be kept, and an incomplete last line, in one rename.

    Returns:
        The note of `read`.
    """
    parsed, data = _parse_lines(folder, name, parse)
    kept = [line for line, row in parsed if isinstance(row, ValueError) or keep(row)]
    after = b"".join(line + b"\n" for line in kept)
    if after != data:
        folder.write(name, after)
    return _note(folder, name, parsed)


def append(folder: Folder, name: str, row: Mapping[str, object]) -> None:
    """Appends a row. It is on disk when this returns.

    The line is one write at the end of the file, so that processes that append at the same time don't mix their
    lines. An incomplete last line is ended first.
    """
    line = (json.dumps(row, sort_keys=True, allow_nan=False) + "\n").encode()
    with folder.append(name) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _note(folder: Folder, name: str, parsed: list[tuple[bytes, Row | ValueError]]) -> str | None:
    wrong = [(number, row) for number, (_, row) in enumerate(parsed, 1) if isinstance(row, ValueError)]
    if not wrong:
        return None
    lines, (first, reason) = "1 line" if len(wrong) == 1 else f"{len(wrong)} lines", wrong[0]
    return one_line(f"{lines} of {folder.path / name} cannot be used and are left out (line {first}: {reason})")


def _parse_lines(
    folder: Folder, name: str, parse: Callable[[dict[str, Any]], Row]
) -> tuple[list[tuple[bytes, Row | ValueError]], bytes]:
    """Returns each line with its row or what is wrong with it, without an incomplete last line; and the bytes."""
    try:
        data = folder.read(name, _LARGEST_BYTES)
    except FileNotFoundError:
        return [], b""
    parsed: list[tuple[bytes, Row | ValueError]] = []
    for line in data.splitlines():
        try:
            parsed.append((line, parse(parse_object(line))))
        except ValueError as error:
            parsed.append((line, error))
    if parsed and isinstance(parsed[-1][1], ValueError) and not data.endswith(b"\n"):
        parsed.pop()
    return parsed, data
