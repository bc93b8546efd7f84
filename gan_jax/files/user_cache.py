"""The user's cache folder: compiled programs, features and decoded images of data, facts about image files.

The folder is `GAN_JAX_CACHE`, else `$XDG_CACHE_HOME/gan_jax`, else `~/.cache/gan_jax`. It is private (mode 0700).
A folder that another user owns, can write to or can replace is not used.
"""

import contextlib
import os
import stat
import time
from pathlib import Path

from ..errors import UserError

SWITCH = "GAN_JAX_CACHE"
_OFF, _ON = ("off", "0", "false", "no"), ("", "on", "1", "true", "yes")


def base() -> Path:
    """Returns the cache folder of all the user's programs: `$XDG_CACHE_HOME`, by default `~/.cache`."""
    path = os.environ.get("XDG_CACHE_HOME", "")
    return Path(path if os.path.isabs(path) else os.path.expanduser("~/.cache"))


def home() -> Path:
    """Returns gan_jax's cache folder: compiled programs, features of data, weights."""
    path = os.path.expanduser(os.environ.get(SWITCH, ""))
    return Path(path) if os.path.isabs(path) else base() / "gan_jax"


def wanted() -> bool:
    """Returns whether `GAN_JAX_CACHE` allows a cache.

    Raises:
        UserError: its value is neither a switch nor an absolute path.
    """
    text = os.environ.get(SWITCH, "")
    if text.lower() in _OFF:
        return False
    if text.lower() in _ON or os.path.isabs(os.path.expanduser(text)):
        return True
    raise UserError(
        f"{SWITCH}={text} is no absolute path, and a relative path would be another folder in each working "
        "directory: give an absolute path, or off to keep nothing"
    )


def tidy(folder: Path, suffix: str, limit: int, abandoned: float, keep: str = "") -> None:
    """Removes the files of a cache that are unused longest, and temporary files that a killed process left.

    Args:
        folder: of the cache.
        suffix: of its files; temporary ones end in .tmp.
        limit: bytes of all of them together.
        abandoned: seconds after which a temporary file is one that was left.
        keep: the name of a file that stays.
    """
    total, entries = 0, []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process may remove it now
            entries.append((path.stat(), path))
    for status, path in sorted(entries, key=lambda entry: entry[0].st_mtime, reverse=True):
        is_left = path.suffix == ".tmp" and time.time() - status.st_mtime > abandoned
        total += status.st_size if path.suffix == suffix else 0
        if is_left or (path.suffix == suffix and total > limit and path.name != keep):
            path.unlink(missing_ok=True)


def make_private(path: Path) -> None:
    """Makes a folder that only this user can write to.

    Raises:
        OSError: it cannot be made, or another user can write to it or replace it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise PermissionError(0, f"it is another user's: set {SWITCH} to a folder of yours", str(path))
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(0, f"others can write to it: chmod go-w {path}", str(path))
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(0, "it can't be written to", str(path))
    for above in path.resolve().parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:  # anyone could replace the folder below
            raise PermissionError(0, f"anyone can write to {above}: set {SWITCH} to a folder elsewhere", str(path))
