"""The labels of parquet files: integers with the names that Hugging Face writes beside them, or text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import UserError, one_line
from ..files.typed_json import parse_object
from .image_set import natural, used_labels
from .source import reason

if TYPE_CHECKING:
    import pyarrow


class Labels(NamedTuple):
    """label: int32 [N] in [0, len(class_names)); notes: what may surprise in them."""

    label: np.ndarray
    class_names: tuple[str, ...]
    notes: Sequence[str] = ()


def read_labels(files: list[tuple[Path, Any]], key: str) -> Labels | None:
    """Returns the labels of all rows of the files; None if key="", or if there is no "label" and key="label".

    Integers have the names of the ClassLabel in Hugging Face's metadata. Without such names the values that occur
    are the classes, in order: 1, 2, 3 become 0, 1, 2. Text is a class for each value, in natural order. Raises
    UserError for other types, for missing labels and for labels that have no name.

    Args:
        files: the path and pyarrow's metadata of each.
    """
    columns = [_read_column(path, metadata, key) for path, metadata in files] if key else []
    lacking = [path for (path, _), column in zip(files, columns) if column is None]
    if len(lacking) == len(columns) and key in ("", "label"):
        return None
    if lacking:
        raise UserError(
            f"'{one_line(lacking[0])}' has no column '{one_line(key)}': pass another data.source.label_key, or '' "
            "to train without labels"
        )
    names = class_names(files[0][1], key)
    for path, metadata in files:
        if class_names(metadata, key) != names:
            raise UserError(
                f"'{one_line(path)}' gives other names to the classes of '{one_line(key)}' than "
                f"'{one_line(files[0][0].name)}': use files of one data set"
            )
    parts = [_values(path, key, column) for (path, _), column in zip(files, columns) if column is not None]
    if len({part.dtype == object for part in parts}) > 1:
        raise UserError(
            f"column '{one_line(key)}' has text in some files and integers in others: use files of one data set"
        )
    if names is not None and parts[0].dtype != object:
        for (path, _), part in zip(files, parts):
            _check_named(path, key, part, len(names))
        return Labels(np.concatenate(parts).astype(np.int32), names)
    return _number(np.concatenate(parts))


def class_names(metadata: Any, key: str) -> tuple[str, ...] | None:
    """Returns the names of the ClassLabel `key` in Hugging Face's metadata of a file, or None."""
    feature = _features(metadata).get(key)
    names = feature.get("names") if isinstance(feature, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        return None
    return tuple(map(one_line, names))


def label_columns(metadata: Any) -> list[str]:
    """Returns the columns of a file that have the names of classes."""
    return [key for key in _features(metadata) if class_names(metadata, key)]


def _features(metadata: Any) -> dict[str, Any]:
    """Returns what Hugging Face's `datasets` wrote of the columns; empty if it wrote nothing that can be read."""
    try:
        features = parse_object((metadata.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _read_column(path: Path, metadata: Any, key: str) -> "pyarrow.ChunkedArray | None":
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, metadata=metadata) as file:
            if key not in file.schema_arrow.names:
                return None
            column = file.read(columns=[key]).column(0)
            if len(column) != metadata.num_rows:
                raise ValueError(f"it has {len(column)} rows of {metadata.num_rows}")
            return column
    except Exception as error:  # pyarrow may raise any exception for damaged bytes
        raise UserError(
            f"column '{one_line(key)}' of '{one_line(path)}' cannot be read: {reason(error)}"
        ) from error


def _values(path: Path, key: str, column: "pyarrow.ChunkedArray") -> np.ndarray:
    """Returns the labels as int64, or as an array of str."""
    from pyarrow import types

    shown = f"column '{one_line(key)}' of '{one_line(path)}'"
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if column.null_count:
        row = column.is_null().to_numpy().argmax()
        raise UserError(
            f"{shown} has no label in row {row}: pass data.source.label_key='' to train without labels"
        )
    if types.is_string(kind) or types.is_large_string(kind):
        return np.array([*column.to_pylist(), None], object)[:-1]  # None: so that an empty array is of objects
    if types.is_integer(kind) or types.is_boolean(kind):
        return (
            np.array(column.to_pylist(), np.int64)
            if types.is_boolean(kind)
            else column.to_numpy().astype(np.int64)
        )
    raise UserError(
        f"{shown} is {one_line(column.type)}, but labels are integers or text: pass another "
        "data.source.label_key, or '' to train without labels"
    )


def _check_named(path: Path, key: str, values: np.ndarray, classes: int) -> None:
    wrong = np.flatnonzero((values < 0) | (values >= classes))
    if wrong.size:
        raise UserError(
            f"row {wrong[0]} of '{one_line(path)}' has the label {values[wrong[0]]}, outside the {classes} "
            f"classes of '{one_line(key)}': pass data.source.label_key='' to train without labels"
        )


def _number(values: np.ndarray) -> Labels:
    """Makes a class of each value that occurs."""
    if values.dtype != object:
        return Labels(*used_labels(values))
    used = sorted(set(values.tolist()), key=natural)
    number = {value: index for index, value in enumerate(used)}
    return Labels(np.array([number[value] for value in values], np.int32), tuple(map(one_line, used)))
