"""Writes an array_record set in the layout of TFDS, in shards, without TensorFlow. A write that is killed goes on.

The set is written to a folder beside its own, which is renamed at the end. In it each shard is written under a
temporary name and renamed when it is whole, so what has its name is finished.
"""

import contextlib
import fcntl
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import UserError, one_line
from ...files.folder import write_atomically
from ..source import reason
from ..waiting import each

if TYPE_CHECKING:
    from tensorflow_datasets.core.features import FeaturesDict

PLAN = "gan_jax.json"
VERSION = "1.0.0"
_LOCK = "lock"
_FULL = ("No space left", "Disk quota exceeded", "File too large")


class Split(NamedTuple):
    """`example(row)` returns the features of one of `count` rows; threads call it."""

    name: str
    count: int
    example: Callable[[int], dict[str, object]]


class _Shard(NamedTuple):
    split: Split
    rows: range
    name: str


def write_set(
    data_dir: Path,
    name: str,
    features: "FeaturesDict",
    splits: Sequence[Split],
    plan: dict[str, object],
    shard_size: int,
    report: Callable[[str], None],
) -> Path:
    """Writes the set `data_dir/name/1.0.0` and returns its folder.

    Args:
        plan: what the bytes of the set depend on. A write that was stopped goes on if it had the same plan.
        shard_size: images in a shard.

    Raises:
        UserError: there is another set of that name, another process writes it, or the disk refuses.
    """
    final, scratch = data_dir / name / VERSION, data_dir / name / f"incomplete.{VERSION}"
    text = json.dumps(plan, indent=2, sort_keys=True).encode()
    if final.exists():
        if _content(final / PLAN) != text:
            raise UserError(
                f"'{one_line(final)}' is there already, made from other images or with other options: choose "
                "another --name, or remove it"
            )
        report(f"{name} is ready in {final}")
        return final
    try:
        with _locked(scratch):
            _begin(scratch, text, report)
            shards = [shard for split in splits for shard in _shards(name, split, shard_size)]
            _write_shards(scratch, name, features, shards, report)
            features.save_config(str(scratch))
            info = json.dumps(_info(name, scratch, features, shards), indent=2)
            write_atomically(scratch / "dataset_info.json", info.encode())
            (scratch / _LOCK).unlink()
            os.rename(scratch, final)
    except (OSError, RuntimeError) as error:  # array_record raises RuntimeError
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in _FULL):
            raise
        why = getattr(error, "strerror", None) or reason(error)
        raise UserError(
            f"'{one_line(scratch)}' cannot be written ({_short(str(why))}): mend that, then repeat the command; "
            "it keeps what is finished"
        ) from error
    report(f"{name} is ready in {final}")
    return final


def _short(why: str) -> str:
    return next((words for words in _FULL if words in why), why)


@contextlib.contextmanager
def _locked(scratch: Path) -> Iterator[None]:
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process writes '{one_line(scratch)}': wait for it") from error
        yield


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _begin(scratch: Path, plan: bytes, report: Callable[[str], None]) -> None:
    """Removes what a write with another plan left."""
    before = _content(scratch / PLAN)
    if before != plan:
        left = [path for path in scratch.iterdir() if path.name != _LOCK]
        if before is not None:
            report(f"the images or the options are others than before: {scratch} is written anew")
        for path in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_atomically(scratch / PLAN, plan)


def _shards(name: str, split: Split, size: int) -> list[_Shard]:
    count, shards = -(-split.count // size), []
    for i in range(count):
        rows = range(split.count)[i * size : (i + 1) * size]
        shards.append(_Shard(split, rows, f"{name}-{split.name}.array_record-{i:05}-of-{count:05}"))
    return shards


def _write_shards(
    scratch: Path, name: str, features: "FeaturesDict", shards: list[_Shard], report: Callable[[str], None]
) -> None:
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    specs: Any = features.get_serialized_info()
    serializer = ExampleSerializer(specs)
    to_do = [shard for shard in shards if not _is_finished(scratch / shard.name, len(shard.rows))]
    if len(to_do) < len(shards):
        report(f"{len(shards) - len(to_do)} of the {len(shards)} shards of {name} are finished already")

    def record(item: tuple[Split, int]) -> bytes:
        split, row = item
        example = serializer.get_tf_example(features.encode_example(split.example(row)))
        return example.SerializeToString(deterministic=True)  # else the order of the features may differ

    rows = ((shard.split, row) for shard in to_do for row in shard.rows)
    records: Any = each(record, rows, sum(len(shard.rows) for shard in to_do), f"writing {name}")
    with contextlib.closing(records):
        for shard in to_do:
            _write_shard(scratch / shard.name, itertools.islice(records, len(shard.rows)))


def _write_shard(path: Path, records: Iterator[bytes]) -> None:
    from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]  (compiled)

    temporary = path.with_name(f"{path.name}.tmp")
    writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1")
    try:
        for record in records:
            writer.write(record)
    finally:
        writer.close()
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _is_finished(path: Path, count: int) -> bool:
    """Returns whether a shard is there and whole: after a power cut, a renamed file may be shorter."""
    from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]  (compiled)

    if not path.is_file():
        return False
    try:
        reader = array_record_module.ArrayRecordReader(str(path))
        found = reader.num_records()
        reader.close()
    except Exception:  # array_record may raise any exception for damaged bytes
        return False
    return found == count


def _info(name: str, folder: Path, features: "FeaturesDict", shards: list[_Shard]) -> dict[str, object]:
    """Returns the content of TFDS's dataset_info.json."""
    splits = []
    for split, group in itertools.groupby(shards, key=lambda shard: shard.split.name):
        of_split = list(group)
        splits.append({
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            "name": split,
            "numBytes": str(sum((folder / shard.name).stat().st_size for shard in of_split)),
            "shardLengths": [str(len(shard.rows)) for shard in of_split],
        })  # fmt: skip
    keys = [{"featureKey": key} for key in ("image", "label") if key in features]
    supervised = {"supervisedKeys": {"tuple": {"items": keys}}} if len(keys) == 2 else {}
    return {"fileFormat": "array_record", "name": name, "splits": splits, **supervised, "version": VERSION}
