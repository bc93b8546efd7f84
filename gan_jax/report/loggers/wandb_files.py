"""Reads the `.wandb` files in which wandb keeps a run on the disk.

The format is that of LevelDB's log: blocks of 32 KiB with pieces of records, each piece with a checksum, its
length (2 bytes, little endian) and its type; 7 bytes in all. A record is a protocol buffer,
`wandb_internal_pb2.Record`. wandb has no function of its own that reads them.
https://github.com/google/leveldb/blob/main/doc/log_format.md
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

_BLOCK, _HEADER = 32768, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[bytes]:
    """Yields the complete records of a file, whose end may be missing. The first 7 bytes name the format."""
    with open(path, "rb") as file:
        if not file.read(_HEADER).startswith(b":W&B"):
            return
        parts, room = [], _BLOCK - _HEADER
        while True:
            if room < _HEADER:  # the rest of a block is empty
                file.seek(room, 1)
                room = _BLOCK
            header = file.read(_HEADER)
            if len(header) < _HEADER:
                return
            _, length, kind = struct.unpack("<IHB", header)
            data = file.read(length)
            room -= _HEADER + length
            if len(data) < length or room < 0 or not _FULL <= kind <= _LAST:
                return
            parts = [data] if kind in (_FULL, _FIRST) else [*parts, data]
            if kind in (_FULL, _LAST):
                yield b"".join(parts)


def history(path: Path) -> Iterator[dict[str, object]]:
    """Yields the rows of a run's history, each with its `_step`."""
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    for data in records(path):
        record = Record()
        try:
            record.ParseFromString(data)
        except DecodeError:
            return
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
            yield row


def last_step(path: Path) -> int:
    """Returns the last step of which a `.wandb` file has a complete row; -1 without one."""
    steps = [row["_step"] for row in history(path) if isinstance(row.get("_step"), int)]
    return max(steps, default=-1)  # type: ignore[type-var]
