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


_NO_LABEL = -1  # Hugging Face's libraries write it for rows without a label


class Labels(NamedTuple):
    """label: int32 [N] in [0, len(class_names)); notes: what may surprise in them."""

    label: np.ndarray
    class_names: tuple[str, ...]
    notes: Sequence[str] = ()


def read_labels(files: list[tuple[Path, Any]], key: str, rows: np.ndarray) -> Labels | None:
    """Returns the labels of the chosen rows; None if key="", or if they have no "label" and key="label".

    Integers have the names of the ClassLabel in Hugging Face's metadata. Without such names the values that occur
    are the classes, in order: 1, 2, 3 become 0, 1, 2. Text is a class for each value, in natural order. The values
    are those of all rows, so that a number means the same class in each split; but rows that are not chosen may
    have no label, or -1, as test sets have. Raises UserError for other types, and for chosen rows without a label
    or with one that has no name.

    Args:
        files: the path and pyarrow's metadata of each.
        rows: the positions of the chosen rows, among those of all files.
    """
    if not key:
        return None
    counts = [metadata.num_rows for _, metadata in files]
    is_chosen = np.zeros(sum(counts), bool)
    is_chosen[rows] = True
    parts = np.split(is_chosen, np.cumsum(counts)[:-1])
    columns = [_read_column(path, metadata, key) for path, metadata in files]
    lacking = [path for (path, _), column, part in zip(files, columns, parts) if column is None and part.any()]
    if len(lacking) == sum(part.any() for part in parts) and key == "label":
        return None
    if lacking:
        raise UserError(
            f"'{one_line(lacking[0])}' has no column '{one_line(key)}': pass another data.source.label_key, or '' "
            "to train without labels"
        )
    labelled = [file for file, column in zip(files, columns) if column is not None]
    names = _same_names(labelled, key)
    values = [
        None if column is None else _values(path, key, column, part)
        for (path, _), column, part in zip(files, columns, parts)
    ]
    if len({one.dtype == object for one in values if one is not None}) > 1:
        raise UserError(
            f"column '{one_line(key)}' has text in some files and integers in others: use files of one data set"
        )
    is_text = any(one is not None and one.dtype == object for one in values)
    nothing = np.array([None if is_text else _NO_LABEL])
    values = [np.repeat(nothing, count) if one is None else one for one, count in zip(values, counts)]
    if names is None or is_text:
        return _number(np.concatenate(values), rows)
    for (path, _), one, part in zip(files, values, parts):
        _check_named(path, key, one, part, len(names))
    return Labels(np.concatenate(values)[rows].astype(np.int32), names)


def class_names(metadata: Any, key: str) -> tuple[str, ...] | None:
    """Returns the names of the ClassLabel `key` in Hugging Face's metadata of a file, or None."""
    feature = _features(metadata).get(key)
    names = feature.get("names") if isinstance(feature, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        return None
    return tuple(map(one_line, names))


def _same_names(files: list[tuple[Path, Any]], key: str) -> tuple[str, ...] | None:
    """Returns the names of the classes, which all files must give."""
    names = class_names(files[0][1], key)
    for path, metadata in files:
        if class_names(metadata, key) != names:
            raise UserError(
                f"'{one_line(path)}' gives other names to the classes of '{one_line(key)}' than "
                f"'{one_line(files[0][0].name)}': use files of one data set"
            )
    return names


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


def _values(path: Path, key: str, column: "pyarrow.ChunkedArray", is_chosen: np.ndarray) -> np.ndarray:
    """Returns the labels as int64, or as an array of str; where there is none, -1 or None."""
    from pyarrow import types

    shown = f"column '{one_line(key)}' of '{one_line(path)}'"
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    is_missing = column.is_null().to_numpy()
    if (is_missing & is_chosen).any():
        row = (is_missing & is_chosen).argmax()
        raise UserError(
            f"{shown} has no label in row {row}: pass data.source.label_key='' to train without labels"
        )
    if types.is_string(kind) or types.is_large_string(kind):
        return np.array([*column.to_pylist(), None], object)[:-1]  # None: so that an empty array is of objects
    if not (types.is_integer(kind) or types.is_boolean(kind)):
        raise UserError(
            f"{shown} is {one_line(column.type)}, but labels are integers or text: pass another "
            "data.source.label_key, or '' to train without labels"
        )
    values, present = np.full(len(column), _NO_LABEL, np.int64), column.drop_null()
    values[~is_missing] = present.to_pylist() if types.is_boolean(kind) else present.to_numpy().astype(np.int64)
    return values


def _check_named(path: Path, key: str, values: np.ndarray, is_chosen: np.ndarray, classes: int) -> None:
    wrong = np.flatnonzero(is_chosen & ((values < 0) | (values >= classes)))
    if wrong.size:
        raise UserError(
            f"row {wrong[0]} of '{one_line(path)}' has the label {values[wrong[0]]}, outside the {classes} "
            f"classes of '{one_line(key)}': pass data.source.label_key='' to train without labels"
        )


def _number(values: np.ndarray, rows: np.ndarray) -> Labels:
    """Makes a class of each value that occurs; of -1 only if a chosen row has it."""
    if values.dtype != object:
        chosen = values[rows]
        others = values[values != _NO_LABEL]
        label, names, notes = used_labels(np.concatenate([chosen, others]))
        return Labels(label[: len(chosen)], names, notes)
    used = sorted(set(values.tolist()) - {None}, key=natural)
    number = {value: index for index, value in enumerate(used)}
    return Labels(np.array([number[value] for value in values[rows]], np.int32), tuple(map(one_line, used)))
