"""Converts a TFDS set from tfrecord to array_record, without TensorFlow."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ..source import hash_parts, reason
from ..tfds import RawRecords
from .tfrecord import read_tfrecord

if TYPE_CHECKING:
    from tensorflow_datasets.core.splits import SplitInfo

_BLOCK = 1024  # records that are read at once
_HASH_BYTES = 32


def convert_to_array_record(folder: Path) -> None:
    """Adds array_record files to the tfrecord copy in `folder` (.../NAME/[CONFIG/]VERSION).

    The records have the same bytes in both formats. The new files are written to a temporary folder, read back,
    compared, and moved beside the tfrecord files, which stay. dataset_info.json is changed last, so a conversion
    that is killed leaves the set as it was. Raises UserError if the copy is damaged or incomplete, or if the
    folder cannot be written.
    """
    import tensorflow_datasets

    try:
        builder = tensorflow_datasets.builder_from_directory(folder)
        scratch = Path(tempfile.mkdtemp(prefix="incomplete.array_record.", dir=folder))
    except OSError as error:
        raise UserError(f"'{folder}' cannot be written: {reason(error)}") from error
    except ValueError as error:
        raise UserError(f"'{folder}' cannot be read as a TFDS set: {reason(error)}") from error
    try:
        splits = [split for split in builder.info.splits.values() if split.num_examples]
        hashes = {split.name: _write_split(split, scratch) for split in splits}
        _copy_metadata(folder, scratch)
        copy: Any = tensorflow_datasets.builder_from_directory(scratch)
        raw = tensorflow_datasets.decode.DeserializeMethod.RAW_BYTES
        for name, expected in hashes.items():
            records = copy.as_data_source(name, deserialize_method=raw)
            if hash_parts(_read_blocks(records), _HASH_BYTES) != expected:
                raise UserError(f"split '{name}' of '{folder}' did not read back as written: check the disk")
        _publish(scratch, folder)
    except OSError as error:
        raise UserError(f"'{folder}' cannot be converted: {reason(error)}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_split(split: "SplitInfo", scratch: Path) -> str:
    """Converts each shard of a split to one file; returns the hash of all its records in order."""
    template: Any = split.filename_template
    target = template.replace(data_dir=scratch, filetype_suffix="array_record")
    names = [path.name for path in split.replace(filename_template=target).filepaths]
    sources = [Path(path) for path in split.filepaths]
    if set(names) & {path.name for path in sources}:
        raise UserError(f"split '{split.name}' cannot be converted: it would overwrite its file '{sources[0]}'")
    shards = zip(sources, names, split.shard_lengths)
    records = (record for path, name, count in shards for record in _copy_records(path, scratch / name, count))
    return hash_parts(records, _HASH_BYTES)


def _copy_records(path: Path, target: Path, count: int) -> Iterable[bytes]:
    """Writes the records of the tfrecord file `path` to `target`, and yields each of them."""
    from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]  (compiled)

    if not path.is_file():
        raise UserError(f"the set lacks its file '{path}': copy it there, then repeat the command")
    writer = array_record_module.ArrayRecordWriter(str(target), "group_size:1")
    copied = 0
    try:
        for record in read_tfrecord(path):
            writer.write(record)
            copied += 1
            yield record
    finally:
        writer.close()
    if copied != count:
        raise UserError(
            f"'{path}' has {copied} records, but its dataset_info.json says {count}: download the set again"
        )


def _read_blocks(records: RawRecords) -> Iterable[bytes]:
    for start in range(0, len(records), _BLOCK):
        yield from records.__getitems__(list(range(start, min(start + _BLOCK, len(records)))))


def _copy_metadata(folder: Path, scratch: Path) -> None:
    for file in folder.iterdir():
        if file.suffix in (".json", ".txt") and file.is_file():
            shutil.copy(file, scratch / file.name)
    info = json.loads((folder / "dataset_info.json").read_text())
    info["fileFormat"] = "array_record"
    info.pop("alternativeFileFormats", None)
    (scratch / "dataset_info.json").write_text(json.dumps(info, indent=2))


def _publish(scratch: Path, folder: Path) -> None:
    for shard in scratch.glob("*array_record*"):
        os.replace(shard, folder / shard.name)
    info = json.loads((folder / "dataset_info.json").read_text())
    info["alternativeFileFormats"] = [*info.get("alternativeFileFormats", []), "array_record"]
    with (scratch / "dataset_info.json").open("w") as file:
        json.dump(info, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch / "dataset_info.json", folder / "dataset_info.json")
