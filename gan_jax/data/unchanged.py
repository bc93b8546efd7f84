"""Notices when a file of a data set is changed during a run."""

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from .containers import Container, Name
from .facts import hash_stream


class Unchanged:
    """Knows the files of a set by their contents.

    Args:
        container, names: the files.
        digests: the hash of the content of each.
    """

    def __init__(self, container: Container, names: Sequence[Name], digests: Sequence[str]):
        self._container, self._names, self._digests = container, names, digests
        self._stamps = [container.stamp(name)[0] for name in names]

    def is_same(self, index: int) -> bool:
        """Returns whether a file has its content still. It is read only if its size or a time is another one.

        Raises OSError or ValueError if it cannot be read.
        """
        stamp = self._container.stamp(self._names[index])[0]
        if stamp == self._stamps[index]:
            return True
        is_same = hash_opened(self._container.open(self._names[index])) == self._digests[index]
        if is_same:  # a link to it was made, say
            self._stamps[index] = stamp
        return is_same


def hash_opened(file: Path | BinaryIO) -> str:
    """Returns the hash of the content of a file that `Container.open` gave.

    Raises OSError or ValueError if it cannot be read.
    """
    if not isinstance(file, Path):
        return hash_stream(file)
    if not stat.S_ISREG(file.stat().st_mode):  # a pipe would wait for a writer
        raise ValueError("it is not a regular file")
    with open(file, "rb") as opened:
        return hash_stream(opened)
