"""A checkpoint's directory and its manifest: what was written, and whether it still is what was written."""

import json
import os
import shutil
import stat
from datetime import UTC, datetime
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

import jax

from ..errors import one_line, told
from ..pytree import describe, is_key
from .digest import leaf_digests, state_digest

FORMAT = 1
MANIFEST = "manifest.json"
_KINDS = {
    "step": int, "written": str, "digest": str, "record": dict, "state": str, "leaves": dict, "shapes": dict,
    "keys": dict, "files": dict,
}  # fmt: skip


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
        Damaged: it is missing, is not as it was written, is of a later format, or leads out of `home`.
    """
    if home.is_symlink() or (home / MANIFEST).is_symlink():
        raise Damaged("it is a link, and what that leads to is not looked at")
    try:
        text = (home / MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
        body = {name: value for name, value in manifest.items() if name != "check"}
    except FileNotFoundError:
        raise Damaged(f"it has no {MANIFEST}, so its save was not finished") from None
    except (OSError, ValueError, AttributeError, RecursionError):
        raise Damaged(f"its {MANIFEST} cannot be read") from None
    # Compared as text, so that a changed byte counts wherever it is, in a string or between two values.
    if _text(body) != text:
        raise Damaged(f"its {MANIFEST} is not as it was written")
    if body.get("format") != FORMAT:
        raise Damaged(f"it has format {told(body.get('format'))}, and this version reads format {FORMAT}")
    # A checkpoint may come from anyone, and its check proves only that it is whole.
    for name, kind in _KINDS.items():
        if not isinstance(body.get(name), kind):
            raise Damaged(f"its {MANIFEST} has no {name} as a save writes it")
    if body["leaves"].keys() != body["shapes"].keys() or body["keys"].keys() - body["shapes"].keys():
        raise Damaged(f"its {MANIFEST} tells different leaves in different places")
    state = body["state"]
    for name in (f"{state}/", *body["files"]):
        if not _is_inside(name, state):
            raise Damaged(f"its {MANIFEST} names a file outside of it, {told(name)}")
    return manifest


def write_manifest(home: Path, manifest: dict[str, Any]) -> None:
    """Puts the manifest in place in one rename: a reader, or a kill, sees the old one or the new one."""
    body = {name: value for name, value in manifest.items() if name != "check"}
    partial = home / f"{MANIFEST}.partial"
    partial.unlink(missing_ok=True)  # it might be a link
    with partial.open("x", encoding="utf-8") as file:
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
    if link := _link(home, manifest["state"]):
        raise Damaged(f"its {one_line(link)} is a link, and may be a file outside of it")
    if manifest["step"] != step:
        raise Damaged(f"its {MANIFEST} is that of step {manifest['step']}")
    for name, expected in manifest["files"].items():
        shown = one_line(name)
        try:
            if not stat.S_ISREG(os.stat(home / name).st_mode):
                raise Damaged(f"{shown} is no plain file")
            found = _measure(home / name)
        except FileNotFoundError:
            raise Damaged(f"{shown} is missing") from None
        except OSError as error:
            raise Damaged(f"{shown} cannot be read ({error.strerror})") from None
        size = expected.get("size") if isinstance(expected, dict) else None
        if found["size"] != size:
            raise Damaged(f"{shown} has {found['size']} bytes, not {told(size)}")
        if found != expected:
            raise Damaged(f"{shown} does not have the bytes that were written")
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
    if home.is_symlink():
        return f"no checkpoint but a link to {one_line(os.readlink(home))}"
    entries = home.iterdir() if home.is_dir() else ()
    return next((entry.name for entry in entries if not _is_ours(entry)), None)


def tidy(home: Path, folder: str) -> None:
    """Leaves the manifest and the directory it names, and removes what an earlier save left beside them."""
    for entry in home.iterdir():
        if _is_ours(entry) and entry.name not in (folder, MANIFEST):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def remove(home: Path) -> None:
    """Removes a checkpoint, its manifest first: what a kill leaves of it does not pass for a checkpoint.

    Of a link, the link alone: nothing is removed through one.
    """
    if home.is_symlink():
        return home.unlink()
    (home / MANIFEST).unlink(missing_ok=True)
    if home.exists():
        shutil.rmtree(home)


def _is_ours(entry: Path) -> bool:
    return f"{entry.name}.".startswith(("state.", f"{MANIFEST}."))


def _is_inside(name: str, folder: str) -> bool:
    parts = name.removesuffix("/").split("/")
    return parts[0] == folder and "\0" not in name and not {"", ".", ".."} & set(parts)


def _link(home: Path, folder: str) -> str | None:
    """A link in the folder of a checkpoint, or that itself, by its path from `home`; None where there is none."""
    if (home / folder).is_symlink():
        return folder
    for place, folders, files in os.walk(home / folder):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(place, name)):
                return os.path.relpath(os.path.join(place, name), home)
    return None


def _measure(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
    return {"size": path.stat().st_size, "digest": digest}


def _text(body: dict[str, Any]) -> str:
    check = blake2b(json.dumps(body).encode(), digest_size=16).hexdigest()
    return json.dumps({**body, "check": check}, indent=1) + "\n"
