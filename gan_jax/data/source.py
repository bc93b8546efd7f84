"""The protocol of a data source, and helpers that the sources share."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from ..errors import UserError, first_line, one_line


class DataMissingError(UserError):
    """A data set is not where the config says."""


_MOST_RATE = 10**9  # a WAV file has 32 bits for the bytes in a second
MAX_ROWS = 2**28  # the most rows of a set that is made in memory


class Described(Protocol):
    """The shape and the size of a data set.

    `shape` is the shape of one sample: (H, W, C) for images, (D,) for vectors. `dtype` is uint8 for images and
    float32 for vectors. `classes` is the number of classes, or None if there are no labels.

    A source may also have `class_names`, a tuple of one name for each class, `rate`, the samples of audio or the
    frames of video in a second, and `notes()`, which returns lines on what may surprise in the data.
    `class_names`, `rate` and `notes` below read them.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    classes: int | None

    def __len__(self) -> int: ...


@runtime_checkable
class Source(Described, Protocol):
    """A fixed list of samples. Several threads may read them at the same time, in any order."""

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the rows at `indices` [n]: "image" [n, *shape], and "label" [n] int32 unless `classes` is None.

        Raises IndexError for an index outside [0, len), and UserError for a record that cannot be read.
        """
        ...

    def fingerprint(self) -> str:
        """Returns one short line that differs between different data. A run stores it."""
        ...


def class_names(source: Described) -> tuple[str, ...] | None:
    """Returns the names of the classes: numbers if the source gives none; None if there are no labels."""
    if source.classes is None:
        return None
    names = getattr(source, "class_names", None)
    return tuple(map(str, range(source.classes))) if names is None else tuple(names)


def rate(source: Described) -> float | None:
    """Returns the samples of audio, or the frames of video, in a second; None if the source does not say it."""
    found = getattr(source, "rate", None)
    return None if found is None else float(found)


def check_rate(given: float | None, least: float = 0.01) -> None:
    """Raises UserError if the rate that a user gives is one that GIFs and WAV files cannot have."""
    if given is not None and not least <= given <= _MOST_RATE:
        raise UserError(f"rate must be from {least:g} to {_MOST_RATE:,} a second, not {given:g}")


def notes(source: Described) -> list[str]:
    """Returns lines on what may surprise in the data, to be said before training."""
    get = getattr(source, "notes", None)
    return [] if get is None else get()


def before(source: Source) -> tuple[Source, str] | None:
    """Returns the source as gan_jax 0.1 read it, and its fingerprint there; None if nothing changed."""
    get = getattr(source, "before", None)
    return None if get is None else get()


def as_known(source: Source, known: str | None, names: Sequence[str] | None = ()) -> tuple[Source, str]:
    """Returns the source as a run knows it whose data have the fingerprint `known`, and the fingerprint.

    A run that began with gan_jax 0.1 keeps the labels that it had. Its fingerprint may be that of gan_jax 0.1, by
    names and sizes of files, or that of the contents with these labels. None: there is no run yet.

    Other data have the order of classes of gan_jax 0.1 too, if the run knows the classes by these `names` in this
    order. None: the run is one of gan_jax 0.1, which did not write names.
    """
    fingerprint = source.fingerprint()
    if known in (None, fingerprint) or (earlier := before(source)) is None:
        return source, fingerprint
    if known in (earlier[1], earlier[0].fingerprint()):
        return earlier[0], known
    of_before = class_names(earlier[0])
    if of_before not in (None, class_names(source)) and (names is None or tuple(names) == of_before):
        return earlier[0], earlier[0].fingerprint()
    return source, fingerprint


def fingerprint_before(source: Source) -> str | None:
    """Returns the fingerprint that gan_jax 0.1 gave to this source; None if it changed nothing."""
    earlier = before(source)
    return earlier[1] if earlier is not None and earlier[0].fingerprint() == source.fingerprint() else None


class Mirrored:
    """A source of N images followed by their mirror images: row N + i is row i flipped left to right, same label.

    Images [H, W, C] may have more axes before these, as video has.
    StyleGAN's `mirror` option doubles the set in this way (Karras et al., 2019, arXiv:1812.04948).
    """

    def __init__(self, source: Source):
        if len(source.shape) < 3:
            kind = "vectors" if len(source.shape) == 1 else f"of shape {describe_shape(source.shape)}"
            raise UserError(f"mirror needs images, but the samples of '{source.fingerprint()}' are {kind}")
        self.source = source
        self.shape, self.dtype, self.classes = source.shape, source.dtype, source.classes
        self.class_names, self.rate = class_names(source), rate(source)

    def notes(self) -> list[str]:
        return notes(self.source)

    def __len__(self) -> int:
        return 2 * len(self.source)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = checked_indices(indices, len(self))
        flipped = indices >= len(self.source)
        rows = self.source.read(np.where(flipped, indices - len(self.source), indices))
        image = rows["image"].copy()
        image[flipped] = image[flipped, ..., ::-1, :]
        return {**rows, "image": image}

    def fingerprint(self) -> str:
        return f"{self.source.fingerprint()} mirrored"

    def before(self) -> "tuple[Mirrored, str] | None":
        earlier = before(self.source)
        return None if earlier is None else (Mirrored(earlier[0]), f"{earlier[1]} mirrored")


def checked_indices(indices: np.ndarray, length: int) -> np.ndarray:
    """Returns `indices` as int64. Raises IndexError if one is negative, or `length` or more."""
    indices = np.asarray(indices, dtype=np.int64)
    outside = indices[(indices < 0) | (indices >= length)]
    if outside.size:
        raise IndexError(f"row {outside[0]} is outside the set of {length} rows")
    return indices


def hash_parts(parts: Iterable[bytes | memoryview | str], size: int = 6) -> str:
    """Returns the BLAKE2 hash of the parts and of their lengths: `size` bytes as hexadecimal digits."""
    total = hashlib.blake2b(digest_size=size)
    for part in parts:
        # The name of a file may have bytes that are not UTF-8.
        content = part.encode(errors="surrogateescape") if isinstance(part, str) else part
        total.update(len(content).to_bytes(8, "little"))
        total.update(content)
    return total.hexdigest()


def reason(error: Exception) -> str:
    """Returns the first line of another library's error message, to be part of one of our messages."""
    return one_line(first_line(error))


def expand_path(path: str) -> Path:
    """Returns `path` with `~` expanded, whether the path exists or not.

    Raises UserError if the system does not accept the path.
    """
    try:
        expanded = Path(path).expanduser()
        os.stat(expanded)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, RuntimeError) as error:  # too long, a zero byte, an unknown user
        why = getattr(error, "strerror", None) or reason(error)
        raise UserError(f"'{one_line(path)}' cannot be read: {why}") from error
    return expanded


def describe_shape(shape: tuple[int, ...]) -> str:
    """Returns the shape as text, such as "28x28x1"."""
    return "x".join(str(side) for side in shape)
