"""Whether a disk takes so many bytes."""

import errno
import os
import shutil
from pathlib import Path

_SPARE = 2**20  # bytes for what is small and stands beside them


def lacks_room(home: Path, needed: int, *, take: bool) -> str | None:
    """Why the directory `home` can't take `needed` bytes, in words; None where it can, or the system doesn't tell.

    Args:
        take: no number of free bytes tells of a quota, so the room is taken, and given back. Some file systems
            write all of it for that.
    """
    free = max(0, shutil.disk_usage(home).free - _SPARE)
    if free < needed:
        return f"has {free / 1e6:.0f} MB left for it"
    return _refuses(home / "state.room", needed) if take else None


def _refuses(path: Path, size: int) -> str | None:
    if not hasattr(os, "posix_fallocate"):
        return None
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, size))
    except OSError as error:
        known = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return f"doesn't take them ({error.strerror})" if known else None
    finally:
        path.unlink(missing_ok=True)
    return None
