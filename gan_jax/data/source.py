"""What a data set is to the trainer: a length, a shape, and rows read by their indices."""

import hashlib
import os
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from ..errors import UserError, one_line

MOST_ROWS = 2**28  # of a set that is made in memory


@runtime_checkable
class Source(Protocol):
    """A fixed list of samples, read in any order, by several threads at once.

    `shape` is one sample's shape, (H, W, C) for images and (D,) for vectors; `dtype` is uint8 for images and
    float32 for vectors; `classes` is the number of classes, None where there are no labels.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    classes: int | None

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The rows at `indices` [n]: "image" [n, *shape], and "label" [n] int32 where `classes` is not None.

        Raises IndexError for an index outside [0, len), UserError for a record that cannot be read.
        """
        ...

    def fingerprint(self) -> str:
        """One short line that tells this data from other data; kept with a run."""
        ...


class Mirrored:
    """Every image and its mirror image: row i >= N is image i - N flipped left to right, with the same label.

    This doubling of the set is the `mirror` option of StyleGAN (Karras et al., 2019, arXiv:1812.04948).
    """

    def __init__(self, source: Source):
        if len(source.shape) != 3:
            raise UserError(f"mirror needs images, but the samples of '{source.fingerprint()}' are vectors")
        self.source = source
        self.shape, self.dtype, self.classes = source.shape, source.dtype, source.classes

    def __len__(self) -> int:
        return 2 * len(self.source)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = checked_indices(indices, len(self))
        flipped = indices >= len(self.source)
        rows = self.source.read(np.where(flipped, indices - len(self.source), indices))
        image = rows["image"].copy()
        image[flipped] = image[flipped, :, ::-1]
        return {**rows, "image": image}

    def fingerprint(self) -> str:
        return f"{self.source.fingerprint()} mirrored"


def checked_indices(indices: np.ndarray, length: int) -> np.ndarray:
    """`indices` as int64; raises IndexError where one is outside [0, length), negative ones included."""
    indices = np.asarray(indices, dtype=np.int64)
    outside = indices[(indices < 0) | (indices >= length)]
    if outside.size:
        raise IndexError(f"row {outside[0]} is outside the set of {length} rows")
    return indices


def digest(*parts: bytes | memoryview | str) -> str:
    """Twelve hexadecimal digits of the parts' BLAKE2 hash; each part is hashed with its length."""
    total = hashlib.blake2b(digest_size=6)
    for part in parts:
        content = part.encode(errors="surrogateescape") if isinstance(part, str) else part  # a file's name, too
        total.update(len(content).to_bytes(8, "little"))
        total.update(content)
    return total.hexdigest()


def reason(error: Exception) -> str:
    """The first line of an exception of another library, for use in a sentence of ours."""
    lines = str(error).splitlines()
    return one_line(lines[0]) if lines else type(error).__name__


def locate(path: str) -> Path:
    """`path` with `~` as the home directory, be it there or not. Raises UserError where it can't be."""
    try:
        found = Path(path).expanduser()
        os.stat(found)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, RuntimeError) as error:  # too long, a zero byte, the home of no user
        why = getattr(error, "strerror", None) or reason(error)
        raise UserError(f"'{one_line(path)}' cannot be read: {why}") from error
    return found


def describe_shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
