"""The images of parquet files, as Hugging Face writes them, as a container. They are read by row groups."""

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from ..errors import UserError, one_line
from .containers import HEAD, Name, file_stamp
from .memory import MOST_UNPACKED, is_bomb
from .parquet_labels import Labels, label_columns, read_labels
from .parquet_splits import find_files, slices, split_of
from .source import MAX_ROWS, reason

if TYPE_CHECKING:
    import pyarrow

_ROW = "row "
_KEPT_BYTES = 2**28


class _File(NamedTuple):
    path: Path
    split: str
    metadata: Any  # a pyarrow.parquet.FileMetaData
    leaf: str  # the column of the encoded images, such as "image.bytes"
    starts: np.ndarray  # the first row of each row group


class ParquetContainer:
    """The encoded images of parquet files as a container: each row of the chosen splits is a file.

    The name of a row is that of its file and "row N". Threads may read at the same time.

    Attributes:
        path: the file or the folder of the files.
        splits: the number of rows of every split.
        labels: of the chosen rows, in the order of `names()`; None if there are none.
        label_columns: the columns that have names of classes.
    """

    def __init__(self, path: Path, split: str | None, image_key: str, label_key: str):
        """Opens the files and reads the labels.

        `split` is TFDS's language: "train", "train[:80%]", "train+test". None is "train" if there are several
        splits, and else the only one.

        Raises UserError if a file cannot be used, or if the path has no such split or columns.
        """
        self.path, self._shown = path, one_line(path)
        self._files = {name: _open(file, name or file.name, image_key) for name, file in find_files(path).items()}
        self.splits: dict[str, int] = {}
        for file in self._files.values():
            self.splits[file.split] = self.splits.get(file.split, 0) + file.metadata.num_rows
        rows = self._choose(split)
        if not len(rows):
            raise UserError(f"'{self._shown}' has no rows in its split '{split}'")
        files = list(self._files.values())
        ends = np.cumsum([file.metadata.num_rows for file in files])
        first = np.concatenate([[0], ends[:-1]])
        at = np.searchsorted(ends, rows, "right")
        names = [Path(name).parts for name in self._files]
        self._names = [(*names[i], f"{_ROW}{row}") for i, row in zip(at.tolist(), (rows - first[at]).tolist())]
        self.labels: Labels | None = read_labels([(file.path, file.metadata) for file in files], label_key, rows)
        self.label_columns = label_columns(files[0].metadata)
        self._kept: OrderedDict[tuple[Path, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[Name]:
        return self._names

    def read(self, name: Name) -> bytes:
        file, row = self._find(name)
        group = int(np.searchsorted(file.starts, row, "right")) - 1
        value = self._read_group(file, group)[row - int(file.starts[group])].as_py()
        if value is None:
            raise ValueError("it has no bytes: embed the image files when you write the set")
        return value

    def open(self, name: Name) -> BinaryIO:
        return io.BytesIO(self.read(name))

    def head(self, name: Name) -> bytes:
        return self.read(name)[:HEAD]

    def sizes(self, names: Sequence[Name]) -> None:
        return None

    def stamp(self, name: Name) -> tuple[str, float]:
        file, row = self._find(name)
        stamp, time = file_stamp(file.path)
        return f"{stamp} {file.leaf} {row}", time

    def _choose(self, split: str | None) -> np.ndarray:
        """Returns the positions of the rows of `split` among the rows of all files."""
        if split is None and len(self.splits) > 1 and "train" not in self.splits:
            has = one_line(", ".join(self.splits))
            raise UserError(f"'{self._shown}' has the splits {has}: pass one as data.source.split")
        if split is None:
            split = "train" if "train" in self.splits else "all"
        files = self._files.values()
        splits = np.repeat([file.split for file in files], [file.metadata.num_rows for file in files])
        pieces = [np.flatnonzero(splits == name)[piece] for name, piece in slices(self._shown, split, self.splits)]
        return np.concatenate(pieces)

    def _find(self, name: Name) -> tuple[_File, int]:
        return self._files["/".join(name[:-1])], int(name[-1].removeprefix(_ROW))

    def _read_group(self, file: _File, group: int) -> "pyarrow.ChunkedArray":
        key = file.path, group
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            else:
                self._kept[key] = _read_group(file, group)
                while len(self._kept) > 1 and sum(map(_memory, self._kept.values())) > _KEPT_BYTES:
                    self._kept.popitem(last=False)
            return self._kept[key]


def _open(path: Path, name: str, image_key: str) -> _File:
    import pyarrow.parquet

    shown = one_line(path)
    if not path.is_file():
        raise UserError(f"'{shown}' is not a regular file")
    with path.open("rb") as file:
        if file.read(40).startswith(b"version https://git-lfs"):
            raise UserError(f"'{shown}' is a pointer of Git LFS and not the file: run `git lfs pull` there")
    try:
        with pyarrow.parquet.ParquetFile(path) as opened:
            metadata, schema = opened.metadata, opened.schema_arrow
        leaf = _image_column(shown, schema, image_key)
        _check_sizes(shown, path.stat().st_size, metadata)
    except UserError:
        raise
    except Exception as error:  # pyarrow may raise any exception for damaged bytes
        raise UserError(f"'{shown}' cannot be read as a parquet file: {reason(error)}") from error
    rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    return _File(path, split_of(name), metadata, leaf, np.cumsum([0, *rows])[:-1])


def _image_column(shown: str, schema: "pyarrow.Schema", key: str) -> str:
    """Returns the name of the column that holds the bytes of the images."""
    leaves = {field.name: leaf for field in schema if (leaf := _bytes_leaf(field))}
    if key == "image" and key not in schema.names and len(leaves) == 1:
        return next(iter(leaves.values()))
    if key in leaves:
        return leaves[key]
    has = one_line(", ".join(leaves)) or "none"
    if key in schema.names:
        kind = one_line(schema.field(key).type)
        raise UserError(f"column '{one_line(key)}' of '{shown}' is {kind}, not images; columns of images: {has}")
    raise UserError(
        f"'{shown}' has no column '{one_line(key)}': pass one of its columns of images as "
        f"data.source.image_key: {has}"
    )


def _bytes_leaf(field: "pyarrow.Field") -> str | None:
    """Returns the name of the binary column of an image: the field itself, or `bytes` in Hugging Face's struct."""
    import pyarrow

    kind = field.type
    if pyarrow.types.is_struct(kind):
        inner = [kind.field(i) for i in range(kind.num_fields) if kind.field(i).name == "bytes"]
        return f"{field.name}.bytes" if inner and _is_binary(inner[0].type) else None
    return field.name if _is_binary(kind) else None


def _is_binary(kind: "pyarrow.DataType") -> bool:
    import pyarrow

    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def _check_sizes(shown: str, size: int, metadata: Any) -> None:
    """Raises UserError for what a file of `size` bytes cannot hold, or unpacks to the memory's exhaustion."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = [group.num_rows for group in groups]
    if min([0, *rows]) < 0 or sum(rows) != metadata.num_rows or sum(rows) > min(size, MAX_ROWS):
        raise UserError(f"'{shown}' claims {metadata.num_rows:,} rows in {size:,} bytes: write the file again")
    # Not the sizes of the columns: pyarrow ends the process where the description of a column is damaged.
    unpacked = sum(group.total_byte_size for group in groups)
    if is_bomb(size, unpacked):
        raise UserError(
            f"'{shown}' unpacks to {unpacked:,} bytes, more than {MOST_UNPACKED} times its own "
            f"{size:,}: it is not read"
        )


def _memory(column: "pyarrow.ChunkedArray") -> int:
    return sum(chunk.dictionary.nbytes + chunk.indices.nbytes for chunk in column.chunks)


def _read_group(file: _File, group: int) -> "pyarrow.ChunkedArray":
    """Returns the encoded images of a row group. Each call opens the file, so that many shards need no handles."""
    import pyarrow.parquet

    rows = file.metadata.row_group(group).num_rows
    try:
        # As a dictionary, so that an image which is stored once and repeated takes its memory once.
        with pyarrow.parquet.ParquetFile(file.path, metadata=file.metadata, read_dictionary=[file.leaf]) as opened:
            table = opened.read_row_group(group, columns=[file.leaf], use_threads=False)
        column = table.flatten().column(0)
        if len(column) != rows:
            raise ValueError(f"it has {len(column)} images and claims {rows}")
    except Exception as error:  # pyarrow may raise any exception for damaged bytes
        raise ValueError(f"row group {group} cannot be read: {reason(error)}") from error
    return column
