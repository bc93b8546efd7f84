"""Decoded and resized images of a set, uint8 [N, H, W, C], kept in the user's cache folder.

A set is the file `decoded/<digest>.npy`. Large photos take long to decode, so this is done once and not at each
start. The files used least recently are removed when all together exceed `LIMIT_BYTES`.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from ..files import user_cache

LIMIT_BYTES = 2**35
_SHARE_OF_DISK = 0.5  # the most that a set may take of what is free
_ABANDONED = 86_400.0  # seconds, after which a temporary file is one that a killed process left


def folder() -> Path:
    """Returns the folder of decoded sets."""
    return user_cache.home() / "decoded"


def load(digest: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns a decoded set, which is read from the disk when it is used; None if there is none."""
    if not user_cache.wanted():
        return None
    path = folder() / f"{digest}.npy"
    try:
        user_cache.make_private(path.parent)
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        os.utime(path)
    except (OSError, ValueError, EOFError):
        return None
    return stored if stored.shape == shape and stored.dtype == np.uint8 else None


class Store:
    """Takes the images of a set, one after the other, where there is room for them: on the disk, or in memory.

    Args:
        shape: (N, H, W, C).
        memory_bytes: the most that is kept in memory if there is no cache folder.
    """

    def __init__(self, shape: tuple[int, ...], memory_bytes: int):
        self._path: Path | None = None
        self._array: np.ndarray | None = None
        size = int(np.prod(shape))
        if user_cache.wanted():
            with contextlib.suppress(OSError):
                self._path = self._reserve(size)
        if self._path is not None:
            self._array = self._map(self._path, shape)
        if self._array is None and size <= memory_bytes:
            self._array = np.empty(shape, np.uint8)

    def _reserve(self, size: int) -> Path | None:
        """Returns a new temporary file, if the set is small enough for the disk."""
        home = folder()
        for path in (home.parent, home):
            user_cache.make_private(path)
        if size > min(LIMIT_BYTES, _SHARE_OF_DISK * shutil.disk_usage(home).free):
            return None
        handle, name = tempfile.mkstemp(suffix=".tmp", dir=home)
        os.close(handle)
        return Path(name)

    def _map(self, path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
        """Returns an array in a file whose whole space is reserved: a full disk would end the process later."""
        try:
            array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
            return array
        except OSError:
            path.unlink(missing_ok=True)
            self._path = None
            return None

    def put(self, row: int, pixels: np.ndarray) -> bool:
        """Keeps the image of a row, uint8 [H, W, C] or, where C is 3, [H, W, 1]; returns whether it does."""
        if self._array is None or pixels.shape[:2] != self._array.shape[1:3]:
            return False
        self._array[row] = pixels
        return True

    def close(self, digest: str, grey: bool) -> np.ndarray | None:
        """Returns the whole set; None if there was no room. `grey` keeps the first channel only."""
        array, path = self._array, self._path
        self._array = self._path = None
        if array is None:
            return None
        if grey and array.shape[-1] > 1:
            if path is None:
                return np.ascontiguousarray(array[..., :1])
            smaller = Store((*array.shape[:3], 1), 0)
            for row, pixels in enumerate(array):
                smaller.put(row, pixels[..., :1])
            path.unlink(missing_ok=True)
            return smaller.close(digest, grey)
        if path is None:
            return array
        assert isinstance(array, np.memmap)
        array.flush()
        os.replace(path, folder() / f"{digest}.npy")
        user_cache.tidy(folder(), ".npy", LIMIT_BYTES, _ABANDONED, keep=f"{digest}.npy")
        return load(digest, array.shape)

    def discard(self) -> None:
        """Gives up a set that is not whole."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._array = self._path = None
