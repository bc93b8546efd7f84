"""A checkpoint's directory and its manifest: what was written, and whether it still is what was written."""

import json
import os
import shutil
from datetime import UTC, datetime
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

import jax

from .digest import describe, is_key, leaf_digests, state_digest

FORMAT = 1
MANIFEST = "manifest.json"


class Damaged(Exception):
    """A checkpoint that is not what was written; the message is a phrase that says what is wrong."""


def make_manifest(step: int, leaves: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a state, given by the paths of its leaves, before its files are known.

    Its keys: `format`, `step`, `written` (UTC), `digest` (`state_digest`), `record` (the caller's), `state` (the
    directory Orbax writes), and by path of a leaf `leaves` (its digest), `shapes` (`float32[3,4]`) and, of typed
    keys, `keys` (the implementation). `settle_files` gives `files`, by path from the checkpoint's directory;
    `write_manifest` adds `check`, the digest of all the rest.
    """
    digests = leaf_digests(leaves)
    return {
        "format": FORMAT,
        "step": step,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "digest": state_digest(digests),
        "record": record,
        "state": "state",
        "leaves": digests,
        "shapes": {name: describe(leaf) for name, leaf in leaves.items()},
        "keys": {name: str(jax.random.key_impl(leaf)) for name, leaf in leaves.items() if is_key(leaf)},
        "files": {},
    }


def read_manifest(home: Path) -> dict[str, Any]:
    """The manifest of the checkpoint directory `home`, every byte of it checked.

    Raises:
        Damaged: it is missing, is not as it was written, or is of a later format.
    """
    try:
        text = (home / MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
        body = {name: value for name, value in manifest.items() if name != "check"}
    except FileNotFoundError:
        raise Damaged(f"it has no {MANIFEST}, so its save was not finished") from None
    except (OSError, ValueError, AttributeError):
        raise Damaged(f"its {MANIFEST} cannot be read") from None
    # Compared as text, so that a changed byte counts wherever it is, in a string or between two values.
    if _text(body) != text:
        raise Damaged(f"its {MANIFEST} is not as it was written")
    if body.get("format") != FORMAT:
        raise Damaged(f"it has format {body.get('format')}, and this version reads format {FORMAT}")
    return manifest


def write_manifest(home: Path, manifest: dict[str, Any]) -> None:
    """Puts the manifest in place in one rename: a reader, or a kill, sees the old one or the new one."""
    body = {name: value for name, value in manifest.items() if name != "check"}
    partial = home / f"{MANIFEST}.partial"
    with partial.open("w", encoding="utf-8") as file:
        file.write(_text(body))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, home / MANIFEST)
    sync_directory(home)


def settle_files(home: Path, folder: str) -> dict[str, dict[str, Any]]:
    """Size and digest of every file below `home/folder`, by its path from `home`, each flushed to the disk."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted((home / folder).rglob("*")):
        if path.is_dir():
            sync_directory(path)
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.relative_to(home).as_posix()] = _measure(path)
    sync_directory(home / folder)
    return files


def verify_files(home: Path, step: int) -> dict[str, Any]:
    """The manifest of the checkpoint of `step` in `home`, once every file has the size and bytes it names.

    Raises:
        Damaged: if not.
    """
    manifest = read_manifest(home)
    if manifest["step"] != step:
        raise Damaged(f"its {MANIFEST} is that of step {manifest['step']}")
    for name, expected in manifest["files"].items():
        try:
            found = _measure(home / name)
        except FileNotFoundError:
            raise Damaged(f"{name} is missing") from None
        except OSError as error:
            raise Damaged(f"{name} cannot be read ({error.strerror})") from None
        if found["size"] != expected["size"]:
            raise Damaged(f"{name} has {found['size']} bytes, not {expected['size']}")
        if found != expected:
            raise Damaged(f"{name} does not have the bytes that were written")
    return manifest


def sync_directory(directory: Path) -> None:
    """Flushes the names in a directory to the disk, so that a rename outlives a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def foreign(home: Path) -> str | None:
    """The name of something in `home` that no save puts there; None if there is nothing such."""
    entries = home.iterdir() if home.is_dir() else ()
    return next((entry.name for entry in entries if not _is_ours(entry)), None)


def tidy(home: Path, folder: str) -> None:
    """Leaves the manifest and the directory it names, and removes what an earlier save left beside them."""
    for entry in home.iterdir():
        if _is_ours(entry) and entry.name not in (folder, MANIFEST):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def remove(home: Path) -> None:
    """Removes a checkpoint, its manifest first: what a kill leaves of it does not pass for a checkpoint."""
    (home / MANIFEST).unlink(missing_ok=True)
    if home.exists():
        shutil.rmtree(home)


def _is_ours(entry: Path) -> bool:
    return entry.name.startswith(("state", MANIFEST))


def _measure(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
    return {"size": path.stat().st_size, "digest": digest}


def _text(body: dict[str, Any]) -> str:
    check = blake2b(json.dumps(body).encode(), digest_size=16).hexdigest()
    return json.dumps({**body, "check": check}, indent=1) + "\n"
