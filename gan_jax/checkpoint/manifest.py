"""The directory of a checkpoint and its manifest, which records the files and leaves that were written."""

import json
import os
import shutil
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, cast

import jax

from ..errors import one_line, quoted
from ..pytree import Leaf, describe_leaf, is_key
from .digest import leaf_digests, state_digest

FORMAT = 1
MANIFEST = "manifest.json"
_FIELD_TYPES = {
    "step": int, "written": str, "digest": str, "record": dict, "state": str, "leaves": dict, "shapes": dict,
    "keys": dict, "files": dict,
}  # fmt: skip

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
        Damaged: it is missing, was changed, has another format, or names a file outside of `directory`.
    """
    if directory.is_symlink() or (directory / MANIFEST).is_symlink():
        raise Damaged("it is a link, and links are not followed")
    try:
        text = (directory / MANIFEST).read_text(encoding="utf-8")
        fields = {name: value for name, value in json.loads(text).items() if name != "check"}
    except FileNotFoundError:
        raise Damaged(f"it has no {MANIFEST}, so its save was not finished") from None
    except (OSError, ValueError, AttributeError, RecursionError):
        raise Damaged(f"its {MANIFEST} cannot be read") from None
    # Compared as text, so that every changed byte is noticed, also one between two values.
    if _to_text(fields) != text:
        raise Damaged(f"its {MANIFEST} was changed after it was written")
    if fields.get("format") != FORMAT:
        raise Damaged(f"its format is {quoted(fields.get('format'))}, but this version of gan_jax reads {FORMAT}")
    # The check does not prove who wrote the manifest, so its fields are not trusted.
    for name, kind in _FIELD_TYPES.items():
        if not isinstance(fields.get(name), kind):
            raise Damaged(f"its {MANIFEST} has no valid field '{name}'")
    manifest = cast(Manifest, fields)
    shapes = manifest["shapes"].keys()
    if manifest["leaves"].keys() != shapes or manifest["keys"].keys() - shapes:
        raise Damaged(f"its {MANIFEST} does not list the same leaves in 'leaves', 'shapes' and 'keys'")
    state = manifest["state"]
    for name in (f"{state}/", *manifest["files"]):
        if not _is_inside(name, state):
            raise Damaged(f"its {MANIFEST} names a file outside the checkpoint: {quoted(name)}")
    return manifest


def write_manifest(directory: Path, manifest: Mapping[str, object]) -> None:
    """Writes the manifest by one rename, so a reader sees the old one or the new one, also after a kill."""
    partial = directory / f"{MANIFEST}.partial"
    partial.unlink(missing_ok=True)  # it might be a link
    with partial.open("x", encoding="utf-8") as file:
        file.write(_to_text(manifest))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, directory / MANIFEST)
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
    if link := _find_link(directory, manifest["state"]):
        raise Damaged(f"its {one_line(link)} is a link, and links are not followed")
    if manifest["step"] != step:
        raise Damaged(f"its {MANIFEST} belongs to step {manifest['step']}")
    for name, expected in manifest["files"].items():
        shown = one_line(name)
        try:
            if not stat.S_ISREG(os.stat(directory / name).st_mode):
                raise Damaged(f"{shown} is not a regular file")
            found = _file_entry(directory / name)
        except FileNotFoundError:
            raise Damaged(f"{shown} is missing") from None
        except OSError as error:
            raise Damaged(f"{shown} cannot be read ({error.strerror})") from None
        size = expected.get("size") if isinstance(expected, dict) else None
        if found["size"] != size:
            raise Damaged(f"{shown} has {found['size']} bytes, not {quoted(size)}")
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


def find_foreign(directory: Path) -> str | None:
    """Returns the name of something in `directory` that no save writes; None if there is no such thing."""
    if directory.is_symlink():
        return f"a link to {one_line(os.readlink(directory))}"
    entries = directory.iterdir() if directory.is_dir() else ()
    return next((entry.name for entry in entries if not _is_from_a_save(entry)), None)


def remove_leftovers(directory: Path, state: str) -> None:
    """Removes what earlier saves left in `directory`, but not the manifest or the directory `state`."""
    for entry in directory.iterdir():
        if _is_from_a_save(entry) and entry.name not in (state, MANIFEST):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def remove_checkpoint(directory: Path) -> None:
    """Removes a checkpoint; of a link, only the link.

    The manifest goes first, so that a kill does not leave a damaged checkpoint.
    """
    if directory.is_symlink():
        return directory.unlink()
    (directory / MANIFEST).unlink(missing_ok=True)
    if directory.exists():
        shutil.rmtree(directory)


def _is_from_a_save(entry: Path) -> bool:
    return f"{entry.name}.".startswith(("state.", f"{MANIFEST}."))


def _is_inside(name: str, state: str) -> bool:
    parts = name.removesuffix("/").split("/")
    return parts[0] == state and "\0" not in name and not {"", ".", ".."} & set(parts)


def _find_link(directory: Path, state: str) -> str | None:
    """Returns the path of a link at or below `directory/state`, relative to `directory`; None if there is none."""
    if (directory / state).is_symlink():
        return state
    for parent, folders, files in os.walk(directory / state):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(parent, name)):
                return os.path.relpath(os.path.join(parent, name), directory)
    return None


def _file_entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
    return {"size": path.stat().st_size, "digest": digest}


def _to_text(fields: Mapping[str, object]) -> str:
    check = blake2b(json.dumps(fields).encode(), digest_size=16).hexdigest()
    return json.dumps({**fields, "check": check}, indent=1) + "\n"
