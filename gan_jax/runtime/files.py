"""Atomic writes: a file is replaced in one rename."""

import contextlib
import os
import secrets
from pathlib import Path


def write_atomically(
    path: Path, data: bytes, *, sync: bool = True, mode: int = 0o666, concurrent: bool = False
) -> None:
    """Replaces a file in one rename: a reader, or a kill, sees the old file or the complete new one.

    The data goes to a temporary file beside it first, `<name>.tmp`. What an earlier process left under that name
    is removed, not opened: if it is a link, nothing is written through it.

    Args:
        sync: whether the data is on disk before the rename, so that a power cut loses nothing.
        mode: permissions of the file, before the umask.
        concurrent: whether other processes may write the same file now. Then the temporary file has a random
            name, which ends in `.tmp` too.

    Raises:
        OSError: the file system refuses; then the temporary file is removed, and the old file stays.
    """
    random = f".{secrets.token_hex(8)}" if concurrent else ""
    temporary = path.with_name(f"{path.name}{random}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
