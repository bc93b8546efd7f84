"""Gives a TFDS set that was prepared as tfrecord its array_record files, without TensorFlow."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..source import reason
from .tfrecord import read_tfrecord

_BLOCK = 1024


def convert_to_array_record(folder: Path) -> None:
    """Adds array_record files to the tfrecord copy in `folder` (.../NAME/[CONFIG/]VERSION).

    The records are the same bytes in both formats. They are written to a temporary folder, read back and
    compared, then moved beside the tfrecord files, which stay; dataset_info.json lists the new format last of
    all, so a conversion that was killed leaves the set as it was. Raises UserError for a damaged
    or incomplete copy and for a folder that cannot be written.
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
        written = {split.name: _write_split(split, scratch) for split in splits}
        _copy_metadata(folder, scratch)
        copy: Any = tensorflow_datasets.builder_from_directory(scratch)
        for name, expected in written.items():
            raw = copy.as_data_source(
                name, deserialize_method=tensorflow_datasets.decode.DeserializeMethod.RAW_BYTES
            )
            if _hash_records(_read_blocks(raw)) != expected:
                raise UserError(f"split '{name}' of '{folder}' did not read back as written: check the disk")
        _publish(scratch, folder)
    except OSError as error:
        raise UserError(f"'{folder}' cannot be converted: {reason(error)}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_split(split: Any, scratch: Path) -> str:
    """Writes the shards of one split one to one; returns the hash of its records in order."""
    target = split.filename_template.replace(data_dir=scratch, filetype_suffix="array_record")
    names = [path.name for path in split.replace(filename_template=target).filepaths]
    sources = [Path(path) for path in split.filepaths]
    if set(names) & {path.name for path in sources}:
        raise UserError(f"the file names of split '{split.name}' ({sources[0]}) do not tell formats apart")
    return _hash_records(
        record
        for path, name, count in zip(sources, names, split.shard_lengths)
        for record in _copied(path, scratch / name, count)
    )


def _copied(path: Path, target: Path, count: int) -> Iterable[bytes]:
    from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]  (compiled)

    if not path.is_file():
        raise UserError(f"the set lacks its file '{path}': copy it there, then repeat the command")
    writer = array_record_module.ArrayRecordWriter(str(target), "group_size:1")
    number = 0
    try:
        for record in read_tfrecord(path):
            writer.write(record)
            number += 1
            yield record
    finally:
        writer.close()
    if number != count:
        raise UserError(
            f"'{path}' has {number} records, but its dataset_info.json says {count}: get the set again"
        )


def _hash_records(records: Iterable[bytes]) -> str:
    total = hashlib.blake2b()
    for record in records:
        total.update(len(record).to_bytes(8, "little"))
        total.update(record)
    return total.hexdigest()


def _read_blocks(source: Any) -> Iterable[bytes]:
    for start in range(0, len(source), _BLOCK):
        yield from source.__getitems__(list(range(start, min(start + _BLOCK, len(source)))))


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
