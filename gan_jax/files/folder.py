"""Opens, writes and removes the files of a folder, and follows no link in it.

A workdir may come from elsewhere. A link in it would lead a write to any file of the user, and a pipe would make a
read wait for ever. So each name is opened by the handle of the folder above it, and must be a plain file.
"""

import contextlib
import errno
import fnmatch
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn

_TEMPORARY = re.compile(r".+\.[0-9a-f]{16}\.tmp", re.DOTALL)
_KINDS = {
    stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


class Folder:
    """The files below one folder, each given by its path relative to it: `"samples/step_00000100.png"`.

    The folder itself may be reached through links. It need not exist: the first file that is written makes it.
    Every method raises OSError with the whole path of the file. Where no plain file is there, the error says what
    is: "it is a link, not a file".
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)

    def kind(self, name: str) -> str | None:
        """Returns "a file", "a folder", "a link", "a pipe", "a socket" or "a device"; None if nothing is there."""
        try:
            with self._above(name) as (handle, last):
                mode = os.stat(last, dir_fd=handle, follow_symlinks=False).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _KINDS.get(stat.S_IFMT(mode), "no file")

    def read(self, name: str, most: int | None = None) -> bytes:
        """Returns the content of a file, which may have at most `most` bytes."""
        with os.fdopen(self._open(name, os.O_RDONLY), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if most is not None and size > most:
                _refuse(errno.EINVAL, f"it has {size:,} bytes, and at most {most:,} are read", self.path / name)
            return file.read()

    def read_from(self, name: str, start: int, most: int) -> bytes:
        """Returns at most `most` bytes of a file from the byte `start` on; none behind its end."""
        with os.fdopen(self._open(name, os.O_RDONLY), "rb") as file:
            file.seek(start)
            return file.read(most)

    def write(self, name: str, data: bytes, *, sync: bool = True, mode: int = 0o666) -> None:
        """Replaces a file in one rename: a reader, or a kill, sees the old file or the complete new one.

        A link in its place is replaced, not followed. The data goes to a temporary file with a random name first.

        Args:
            sync: whether the data is on disk before the rename, so that a power cut loses nothing.
            mode: permissions of the file, before the umask.
        """
        with self._above(name, make=True) as (handle, last):
            try:
                _replace(handle, last, data, sync, mode)
            except FileNotFoundError:  # a run that began just now removed the temporary file
                _replace(handle, last, data, sync, mode)

    def open(self, name: str) -> BinaryIO:
        """Opens a file to lock it. It need not exist."""
        return os.fdopen(self._open(name, os.O_RDWR | os.O_CREAT), "r+b")

    def append(self, name: str) -> BinaryIO:
        """Opens a file to read it and to write at its end. It need not exist."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        file = self._open(name, flags)
        if os.fstat(file).st_nlink > 1:  # a hard link: the other name may lie outside, such as in a backup
            os.close(file)
            self.write(name, self.read(name))
            file = self._open(name, flags)
        return os.fdopen(file, "a+b")

    def remove(self, name: str) -> None:
        """Removes a file if it is there; of a link, only the link."""
        with contextlib.suppress(FileNotFoundError), self._above(name) as (handle, last):
            os.unlink(last, dir_fd=handle)

    def names(self, pattern: str) -> list[str]:
        """Returns the files whose name matches, sorted, such as for `"samples/step_*.png"`. Links are left out."""
        above, last = os.path.split(pattern)
        try:
            with self._above(pattern) as (handle, _), os.scandir(handle) as entries:
                found = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        return sorted(os.path.join(above, name) for name in found if fnmatch.fnmatchcase(name, last))

    def remove_temporaries(self, below: str = "") -> None:
        """Removes the temporary files that killed processes left in the folder `below`."""
        for name in self.names(os.path.join(below, "*.tmp")):
            if _TEMPORARY.fullmatch(os.path.basename(name)):
                self.remove(name)

    def _open(self, name: str, flags: int) -> int:
        """Opens a plain file and returns its descriptor. The folder above it is made if the file is to be made."""
        with self._above(name, make=bool(flags & os.O_CREAT)) as (handle, last):
            try:
                # NONBLOCK: else the opening of a pipe waits for its other end.
                file = os.open(last, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666, dir_fd=handle)
            except OSError:
                _check_kind(handle, last, stat.S_IFREG, self.path / name)
                raise
            if not stat.S_ISREG(os.fstat(file).st_mode):
                os.close(file)
                _check_kind(handle, last, stat.S_IFREG, self.path / name)
                _refuse(errno.EINVAL, "it was replaced just now", self.path / name)
            return file

    @contextlib.contextmanager
    def _above(self, name: str, make: bool = False) -> Iterator[tuple[int, str]]:
        """Opens the folder that contains a file; yields its handle, and the last part of the name."""
        *folders, last = PurePosixPath(name).parts
        if make:
            self.path.mkdir(parents=True, exist_ok=True)
        at, path = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY), self.path
        try:
            for folder in folders:
                path = path / folder
                at, above = _open_folder(at, folder, path, make), at
                os.close(above)
            yield at, last
        except OSError as error:
            if os.sep not in str(error.filename):  # it is relative to a handle
                error.filename = str(self.path / name)
            raise
        finally:
            os.close(at)


def _replace(handle: int, name: str, data: bytes, sync: bool, mode: int) -> None:
    """Writes a temporary file in the folder of a handle, and renames it."""
    temporary = f"{name}.{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(temporary, flags, mode, dir_fd=handle), "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, name, src_dir_fd=handle, dst_dir_fd=handle)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=handle)
        raise


def write_atomically(path: Path, data: bytes, *, sync: bool = True, mode: int = 0o666) -> None:
    """Replaces a file in one rename; see `Folder.write`."""
    Folder(path.parent).write(path.name, data, sync=sync, mode=mode)


def _open_folder(above: int, name: str, path: Path, make: bool) -> int:
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=above)
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    except OSError:
        _check_kind(above, name, stat.S_IFDIR, path)
        raise


def _check_kind(handle: int, name: str, wanted: int, path: Path) -> None:
    """Raises OSError if what is there is of another kind than wanted."""
    found = stat.S_IFMT(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode)
    number = {stat.S_IFLNK: errno.ELOOP}.get(found, errno.EINVAL if wanted == stat.S_IFREG else errno.ENOTDIR)
    if found != wanted:
        _refuse(number, f"it is {_KINDS.get(found, 'of an unknown kind')}, not {_KINDS[wanted]}", path)


def _refuse(number: int, reason: str, path: Path) -> NoReturn:
    raise OSError(number, reason, str(path))
