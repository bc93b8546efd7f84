"""Removes checkpoints and what unfinished saves left, and nothing that no save writes."""

import os
import shutil
from pathlib import Path

from ..errors import one_line
from .manifest import MANIFEST


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
