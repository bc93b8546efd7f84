"""The directory of a checkpoint and its manifest, which records the files and leaves that were written."""

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b, file_digest
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, cast

import jax

from ..errors import UserError, one_line, quoted
from ..files.folder import Folder
from ..files.typed_json import check, parse_object
from ..pytree import Leaf, describe_leaf, is_key
from .digest import leaf_digests, state_digest

FORMAT = 1
MANIFEST = "manifest.json"
_FIELD_TYPES = {
    "step": int, "written": str, "digest": str, "state": str, "leaves": dict[str, str], "shapes": dict[str, str],
    "keys": dict[str, str], "files": dict[str, dict[str, int | str]],
}  # fmt: skip
_LARGEST_BYTES = 2**28  # of a manifest: a line a leaf and a file is a thousandth of this

Record: TypeAlias = dict[str, Any]  # JSON, given by the caller of `Checkpoints.save`


class FileEntry(TypedDict):
    """The size of a file in bytes and the digest of its content."""

    size: int
    digest: str


class Manifest(TypedDict):
    """The content of `manifest.json`, without `check`, the digest of all the rest, which the file has too.

    Attributes:
        written: the time in UTC.
        digest: the `state_digest` of the state.
        state: the directory that Orbax writes, relative to that of the checkpoint.
        leaves: the digest of each leaf, by its path.
        shapes: the type and shape of each leaf, as `describe_leaf` writes them, by its path.
        keys: the implementation of each leaf that is a typed key, by its path.
        files: the entry of each file, by its path relative to the directory of the checkpoint.
    """

    format: int
    step: int
    written: str
    digest: str
    record: Record
    state: str
    leaves: dict[str, str]
    shapes: dict[str, str]
    keys: dict[str, str]
    files: dict[str, FileEntry]


class NewerFormatError(UserError):
    """A later version of gan_jax wrote a checkpoint. To pass it over would lose what that version trained."""


class Damaged(Exception):
    """A checkpoint is not as it was written; the message is a phrase that says what is wrong."""


def make_manifest(step: int, leaves: Mapping[str, Leaf], record: Record) -> Manifest:
    """Makes the manifest of a state, given by the paths of its leaves; `files` is still empty."""
    digests = leaf_digests(leaves)
    return {
        "format": FORMAT,
        "step": step,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "digest": state_digest(digests),
        "record": record,
        "state": "state",
        "leaves": digests,
        "shapes": {name: describe_leaf(leaf) for name, leaf in leaves.items()},
        "keys": {name: str(jax.random.key_impl(leaf)) for name, leaf in leaves.items() if is_key(leaf)},
        "files": {},
    }


def read_manifest(directory: Path) -> Manifest:
    """Reads the manifest of the checkpoint in `directory` and checks every byte of it.

    Raises:
        NewerFormatError: a later version of gan_jax wrote it.
        Damaged: it is missing, was changed, has another format, or names a file outside of `directory`.
    """
    if directory.is_symlink() or (directory / MANIFEST).is_symlink():
        raise Damaged("it is a link, and links are not followed")
    try:
        text = Folder(directory).read(MANIFEST, _LARGEST_BYTES).decode()
        fields = parse_object(text)
        given = fields.pop("check", None)
    except FileNotFoundError:
        raise Damaged(f"it has no {MANIFEST}, so its save was not finished") from None
    except (OSError, ValueError):
        raise Damaged(f"its {MANIFEST} cannot be read") from None
    _check_format(directory, fields, given)
    # Compared as text, so that every changed byte is noticed, also one between two values.
    if _to_text(fields) != text:
        raise Damaged(f"its {MANIFEST} was changed after it was written")
    if fields.get("format") != FORMAT:
        raise Damaged(f"its format is {quoted(fields.get('format'))}, but this version of gan_jax reads {FORMAT}")
    # The check does not prove who wrote the manifest, so its fields are not trusted.
    for name, kind in _FIELD_TYPES.items():
        try:
            check(fields.get(name), kind, name)
        except ValueError as error:
            raise Damaged(f"its {MANIFEST} has no valid field '{name}' ({one_line(error)})") from None
    if not isinstance(fields.get("record"), dict):  # its content is the caller's
        raise Damaged(f"its {MANIFEST} has no valid field 'record'")
    manifest = cast(Manifest, fields)
    shapes = manifest["shapes"].keys()
    if manifest["leaves"].keys() != shapes or manifest["keys"].keys() - shapes:
        raise Damaged(f"its {MANIFEST} does not list the same leaves in 'leaves', 'shapes' and 'keys'")
    state = manifest["state"]
    for name in (f"{state}/", *manifest["files"]):
        if not _is_inside(name, state):
            raise Damaged(f"its {MANIFEST} names a file outside the checkpoint: {quoted(name)}")
    return manifest


def refuse_newer(directory: Path) -> None:
    """Raises NewerFormatError if a later version of gan_jax wrote the checkpoint, whether it is damaged or not."""
    with contextlib.suppress(Damaged):
        read_manifest(directory)


def write_manifest(directory: Path, manifest: Mapping[str, object]) -> None:
    """Writes the manifest by one rename, so a reader sees the old one or the new one, also after a kill."""
    Folder(directory).write(MANIFEST, _to_text(manifest).encode())
    sync_directory(directory)


def sync_files(directory: Path, state: str) -> dict[str, FileEntry]:
    """Flushes every file below `directory/state` to the disk; returns its entry by its path from `directory`."""
    files: dict[str, FileEntry] = {}
    for path in sorted((directory / state).rglob("*")):
        if path.is_dir():
            sync_directory(path)
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.relative_to(directory).as_posix()] = _file_entry(path)
    sync_directory(directory / state)
    return files


def verify_checkpoint(directory: Path, step: int) -> Manifest:
    """Checks the manifest and the size and bytes of every file of a checkpoint; returns the manifest.

    Raises:
        Damaged: something is not as it was written.
    """
    manifest = read_manifest(directory)
    _check_plain(directory, manifest["state"])
    if manifest["step"] != step:
        raise Damaged(f"its {MANIFEST} belongs to step {manifest['step']}")
    for name, expected in manifest["files"].items():
        shown = one_line(name)
        size = expected["size"] if expected.keys() == {"size", "digest"} else None
        try:
            status = os.stat(directory / name)
            if not stat.S_ISREG(status.st_mode):
                raise Damaged(f"{shown} is not a regular file")
            if status.st_size != size:  # before the file is read, which may be of any size
                raise Damaged(f"{shown} has {status.st_size} bytes, not {quoted(size)}")
            found = _file_entry(directory / name)
        except FileNotFoundError:
            raise Damaged(f"{shown} is missing") from None
        except OSError as error:
            raise Damaged(f"{shown} cannot be read ({error.strerror})") from None
        if found != expected:
            raise Damaged(f"{shown} does not have the bytes that were written")
    return manifest


def sync_directory(directory: Path) -> None:
    """Flushes the names in a directory to the disk, so that a rename survives a power failure."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_inside(name: str, state: str) -> bool:
    parts = name.removesuffix("/").split("/")
    return parts[0] == state and "\0" not in name and not {"", ".", ".."} & set(parts)


def _check_plain(directory: Path, state: str) -> None:
    """Raises Damaged if something at or below `directory/state` is neither a file nor a folder."""
    below = [str(path.relative_to(directory)) for path in sorted((directory / state).rglob("*"))]
    for name in (state, *below):
        kind = Folder(directory).kind(name)
        if kind == "a link":
            raise Damaged(f"its {one_line(name)} is a link, and links are not followed")
        if kind not in ("a file", "a folder", None):
            raise Damaged(f"its {one_line(name)} is {kind}, so it is not a regular file")


def _check_format(directory: Path, fields: Mapping[str, Any], given: object) -> None:
    """Raises NewerFormatError if a later version wrote a manifest, which this one must not pass over.

    Args:
        given: the check of the manifest. It shows whether one flipped bit made the format another one.
    """
    number, this = fields.get("format"), metadata.version("gan_jax")
    if type(number) is not int or number <= FORMAT:
        return
    flipped = len(str(number)) == 1 and (ord(str(number)) ^ ord(str(FORMAT))).bit_count() == 1
    if flipped and given == _digest({**fields, "format": FORMAT}):
        return
    record = fields.get("record")
    environment = record.get("environment") if isinstance(record, dict) else None
    writer = environment.get("gan_jax") if isinstance(environment, dict) else None
    version = f"gan_jax {one_line(writer, 30)}" if isinstance(writer, str) else "a later gan_jax"
    raise NewerFormatError(
        f"the checkpoint {one_line(directory)} has format {quoted(number)}, which {version} wrote, but this is "
        f"gan_jax {this}, which reads format {FORMAT}: use the later version, or move the checkpoint elsewhere if "
        "it is damaged"
    )


def _file_entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
    return {"size": path.stat().st_size, "digest": digest}


def _to_text(fields: Mapping[str, object]) -> str:
    return json.dumps({**fields, "check": _digest(fields)}, indent=1) + "\n"


def _digest(fields: Mapping[str, object]) -> str:
    return blake2b(json.dumps(fields).encode(), digest_size=16).hexdigest()
