"""Checks that a disk has room for a checkpoint."""

import errno
import os
import shutil
from pathlib import Path

_SPARE = 2**20  # bytes for the manifest and the metadata


def missing_room(directory: Path, needed: int, *, reserve: bool) -> str | None:
    """Returns a phrase that says why `directory` cannot hold `needed` more bytes; None if it can, or if unknown.

    Args:
        reserve: also reserves the bytes and frees them again, because the number of free bytes does not reveal a
            quota. Some file systems write all these bytes.
    """
    free = max(0, shutil.disk_usage(directory).free - _SPARE)
    if free < needed:
        return f"has {free / 1e6:.0f} MB left"
    return _reserve_error(directory / "state.room", needed) if reserve else None


def _reserve_error(path: Path, size: int) -> str | None:
    if not hasattr(os, "posix_fallocate"):
        return None
    try:
        with path.open("xb") as file:  # not through a link
            os.posix_fallocate(file.fileno(), 0, max(1, size))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return f"cannot reserve them ({error.strerror})" if full else None
    finally:
        path.unlink(missing_ok=True)
    return None
