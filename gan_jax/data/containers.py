"""Where image files lie: a folder or a zip file. Both give names and bytes."""

import contextlib
import io
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence, Set
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import UserError, one_line
from .source import DataMissingError, reason

Name = tuple[str, ...]  # the parts of a path below the container
HEAD = 64  # bytes; they tell what kind of file it is
MAX_BYTES = 2**28  # of one file: more than any image that is decoded needs


class Container(Protocol):
    """Files below one place. Several threads may read them at the same time."""

    path: Path

    def names(self) -> list[Name]:
        """Returns the names of all files, without hidden ones, in the order of their parts."""
        ...

    def read(self, name: Name) -> bytes:
        """Returns the bytes of a file. Raises ValueError or OSError if it cannot be read."""
        ...

    def open(self, name: Name) -> Path | BinaryIO:
        """Returns a file to decode. Raises as `read` does."""
        ...

    def sizes(self, names: Sequence[Name]) -> list[int] | None:
        """Returns the bytes of each file; None for a zip file, which gan_jax 0.1 did not read."""
        ...

    def head(self, name: Name) -> bytes:
        """Returns the first bytes of a file, empty for what is no regular file. Raises as `read` does."""
        ...

    def stamp(self, name: Name) -> tuple[str, float]:
        """Returns a text that changes with the file, and when the file was changed last, in seconds."""
        ...


def open_container(path: Path) -> Container:
    """Opens a folder or a zip file.

    Raises:
        UserError: there is none of them.
    """
    if path.is_dir():
        return FolderContainer(path)
    if path.is_file() and zipfile.is_zipfile(path):
        return ZipContainer(path)
    if path.exists():
        kinds = {
            ".npz": "data.source=npz reads it", ".parquet": "data.source=parquet reads it",
            ".npy": f"{npy_advice(path)} and use data.source=npz",
        }  # fmt: skip
        is_named_zip = path.suffix.lower() == ".zip"
        if path.is_file() and (is_named_zip or (path.suffix.lower() not in kinds and _begins_as_zip(path))):
            raise UserError(
                f"'{one_line(path)}' is a zip file that is cut short or damaged: the list of files at its end "
                "cannot be read: download or copy it again"
            )
        advice = kinds.get(path.suffix.lower(), "name the folder of the images, or a zip file of it")
        raise UserError(f"'{one_line(path)}' is no folder and no zip file: {advice}")
    raise DataMissingError(f"there is no folder '{one_line(path)}'")


def npy_advice(path: Path) -> str:
    """Returns what to do with an .npy file, whose array has no name."""
    stem, name = one_line(path.stem), one_line(path.name)
    return f"save it as an .npz file with np.savez('{stem}.npz', image=np.load('{name}'))"


def _begins_as_zip(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def file_stamp(path: Path) -> tuple[str, float]:
    """Returns a text that is another one when the file is changed, and when it was changed last, in seconds.

    The path is no part of it, so a file keeps its stamp when a folder above it is renamed.
    """
    status = os.stat(path)
    numbers = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return " ".join(map(str, numbers)), max(status.st_mtime, status.st_ctime)


class FolderContainer:
    """The files below a folder. Links are followed, but for a link to a folder that contains it."""

    def __init__(self, path: Path):
        self.path = path

    def names(self) -> list[Name]:
        found: list[Name] = []
        ancestors: dict[str, tuple[str, ...]] = {str(self.path): (os.path.realpath(self.path),)}
        for parent, folders, files in os.walk(self.path, followlinks=True):
            parent_ancestors = ancestors.pop(parent)
            to_visit = []
            for name in folders:
                real = os.path.realpath(os.path.join(parent, name))
                # A link to a folder that contains the link would be followed for ever.
                if not _is_hidden(name) and real not in parent_ancestors:
                    to_visit.append(name)
                    ancestors[os.path.join(parent, name)] = (*parent_ancestors, real)
            folders[:] = to_visit
            parts = Path(parent).relative_to(self.path).parts
            found += [(*parts, name) for name in files if not _is_hidden(name)]
        return sorted(found)

    def read(self, name: Name) -> bytes:
        path = self.path.joinpath(*name)
        status = os.stat(path)  # before it is opened: a pipe would wait for a writer
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"it has {status.st_size:,} bytes, but at most {MAX_BYTES:,} are read")
        return path.read_bytes()

    def open(self, name: Name) -> Path:
        return self.path.joinpath(*name)

    def sizes(self, names: Sequence[Name]) -> list[int]:
        return [os.stat(self.path.joinpath(*name)).st_size for name in names]

    def head(self, name: Name) -> bytes:
        path = self.path.joinpath(*name)
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(path, "rb") as file:
            return file.read(HEAD)

    def stamp(self, name: Name) -> tuple[str, float]:
        return file_stamp(self.path.joinpath(*name))

    def note_on_empty(self, used: Set[str]) -> list[str]:
        """Returns a note on the folders at the top that are not among those with images."""
        folders = [entry.name for entry in os.scandir(self.path) if entry.is_dir() and not _is_hidden(entry.name)]
        empty = sorted(map(one_line, set(folders) - used))
        return [f"note: no images are in {', '.join(empty[:6])}: no class"] if empty else []


class ZipContainer:
    """The files in a zip file. A folder that holds all others is left out, as in a zip file of one folder."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except Exception as error:  # zipfile may raise any exception for damaged bytes
            raise UserError(f"'{one_line(path)}' cannot be read as a zip file: {reason(error)}") from error
        self._stamp, self._time = file_stamp(path)

    def names(self) -> list[Name]:
        return sorted(self._members)

    @cached_property
    def _members(self) -> dict[Name, zipfile.ZipInfo]:
        members = {}
        for info in self._archive.infolist():
            parts = tuple(part for part in info.filename.replace("\\", "/").split("/") if part)
            if not info.is_dir() and parts and not any(map(_is_hidden, parts)):
                members[parts] = info
        tops = {name[0] for name in members}
        if len(tops) == 1 and all(len(name) > 1 for name in members):
            members = {name[1:]: info for name, info in members.items()}
        return members

    def read(self, name: Name) -> bytes:
        info = self._members[name]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is packed with another method than zip's own")
        if info.file_size > MAX_BYTES:
            raise ValueError(f"it claims {info.file_size:,} bytes, but at most {MAX_BYTES:,} are read")
        with _as_value_error():
            return self._archive.read(info)

    def open(self, name: Name) -> BinaryIO:
        return io.BytesIO(self.read(name))

    def sizes(self, names: Sequence[Name]) -> None:
        return None

    def head(self, name: Name) -> bytes:
        with _as_value_error(), self._archive.open(self._members[name]) as file:
            return file.read(HEAD)

    def stamp(self, name: Name) -> tuple[str, float]:
        info = self._members[name]
        return f"{self._stamp} {info.header_offset} {info.CRC} {info.file_size}", self._time


@contextlib.contextmanager
def _as_value_error() -> Iterator[None]:
    """Turns an error of zipfile into a ValueError; it may raise any exception for damaged bytes."""
    try:
        yield
    except Exception as error:
        raise ValueError(reason(error) or type(error).__name__) from error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
