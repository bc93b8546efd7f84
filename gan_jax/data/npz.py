"""A source of images or vectors from a NumPy .npz file."""

import math
import warnings
import zipfile
from pathlib import Path

import numpy as np

from ..errors import UserError, one_line
from .arrays import Arrays
from .images import Channels, Crop, Filter, Transform
from .loader import available_memory_bytes
from .source import Mirrored, Source, expand_path, reason

_MOST_UNPACKED, _SMALL = 100, 2**28
"""Images and labels unpack to ten times their bytes, a bomb to a thousand times; small arrays may be all zero."""


def npz(
    path: str,
    image_key: str = "image",
    label_key: str = "label",
    size: int | None = None,
    crop: Crop = "center",
    filter: Filter = "lanczos",
    channels: Channels | None = None,
    mirror: bool = False,
) -> Source:
    """Returns a source of the samples in a .npz file, which are held in memory.

    Samples are uint8 images [N, H, W] or [N, H, W, C] with C = 1, 3 or 4, or float32 vectors [N, D]. They are the
    array `image_key`, or the only array of the file. Labels are the array `label_key` of integers from 0 on, if
    the file has it; "" ignores it. The image options do not apply to vectors. Raises UserError if the file cannot
    be used.
    """
    file = expand_path(path)
    arrays = _load(file, image_key, label_key)
    image = _checked_samples(file, *arrays["image"])
    label, classes = None, None
    if "label" in arrays:
        label = _checked_labels(file, *arrays["label"], len(image))
        classes = int(label.max()) + 1
    transform = Transform(size, crop, filter, channels)
    if image.ndim == 2 and (transform != Transform() or mirror):
        raise UserError(
            f"'{one_line(file)}' holds vectors: size, crop, filter, channels and mirror are only for images"
        )
    source = Arrays("npz", image, label, classes, transform)
    return Mirrored(source) if mirror else source


def _load(file: Path, image_key: str, label_key: str) -> dict[str, tuple[str, np.ndarray]]:
    """Returns {"image": (name in the file, array)}, and the same for "label" if the file has labels."""
    shown = one_line(file)
    if not file.is_file():
        raise UserError(f"there is no file '{shown}'")
    if not zipfile.is_zipfile(file):
        raise UserError(f"'{shown}' is not a whole .npz file: save one with np.savez(path, image=...)")
    try:
        with zipfile.ZipFile(file) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            keys = _choose_arrays(shown, list(members), image_key, label_key)
            check_size(file.stat().st_size, [archive.getinfo(members[key]) for key in keys.values()])
            return {role: (key, _read(archive, members[key])) for role, key in keys.items()}
    except UserError:
        raise
    except Exception as error:  # zipfile and NumPy may raise any exception for damaged bytes
        raise UserError(f"'{shown}' cannot be read as an .npz file: {reason(error)}") from error


def _choose_arrays(shown: str, names: list[str], image_key: str, label_key: str) -> dict[str, str]:
    """Returns the names of the arrays to read as "image" and as "label"."""
    keys = {"label": label_key} if label_key in names else {}
    samples = [name for name in names if name != label_key]
    has = one_line(", ".join(names)) or "none"
    if image_key in names:
        keys["image"] = image_key
    elif len(samples) == 1 and image_key == "image":
        keys["image"] = samples[0]
    else:
        raise UserError(f"'{shown}' has no array '{one_line(image_key)}': it has {has}")
    if "label" not in keys and label_key not in ("", "label"):
        raise UserError(f"'{shown}' has no array '{one_line(label_key)}': it has {has}")
    return keys


def check_size(packed: int, members: list[zipfile.ZipInfo]) -> None:
    """Raises ValueError for members of a zip file that do not fit in memory, or that no real data unpack to.

    `packed` is the size of the file in bytes. `zipfile` unpacks no more than the directory of the file says, but
    not with bz2 and LZMA. NumPy uses neither.
    """
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise ValueError("it is packed with another method than zip's own: save it uncompressed")
    needed = sum(member.file_size for member in members)
    if needed > max(_SMALL, _MOST_UNPACKED * packed):
        raise ValueError(
            f"its {packed:,} bytes unpack to {needed:,}, more than {_MOST_UNPACKED} times as many: save it "
            "uncompressed"
        )
    if needed > (available := available_memory_bytes()):
        raise ValueError(f"it needs {needed:,} bytes of memory, but this host has {available:,} available now")


def _read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Reads one array, after a check of its size. Damaged bytes may raise any exception."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(name) as member, warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy warns about headers that Python 2 wrote
        version = np.lib.format.read_magic(member)
        if version not in readers:
            raise ValueError(f"its {name} is neither images nor vectors")
        shape, _, dtype = readers[version](member)
        if dtype.hasobject:
            raise ValueError("it holds pickled Python objects, which are never loaded")
        claimed = math.prod(shape) * dtype.itemsize
        held = archive.getinfo(name).file_size - member.tell()
        if claimed != held:
            raise ValueError(f"its {name} claims {claimed:,} bytes of numbers but holds {held:,}")
        member.seek(0)
        return np.lib.format.read_array(member, allow_pickle=False)


def _checked_samples(file: Path, key: str, samples: np.ndarray) -> np.ndarray:
    name = f"array '{one_line(key)}' of '{one_line(file)}' ({samples.dtype} {list(samples.shape)})"
    if samples.ndim == 0 or samples.size == 0:
        raise UserError(f"{name} is empty")
    if samples.ndim == 2:
        if samples.dtype != np.float32:
            raise UserError(f"{name} must be float32 to be used as vectors: convert it with .astype('float32')")
        if not np.isfinite(samples).all():
            raise UserError(f"{name} holds values that are not finite")
        return samples
    if samples.ndim not in (3, 4):
        raise UserError(f"{name} is neither images [N, H, W], [N, H, W, C] nor vectors [N, D]")
    if samples.dtype != np.uint8:
        raise UserError(f"{name} must be uint8 to be used as images: convert it to uint8 values from 0 to 255")
    samples = samples[..., None] if samples.ndim == 3 else samples
    if samples.shape[-1] not in (1, 3, 4):
        hint = " (channels come last: transpose it)" if samples.shape[1] in (1, 3, 4) else ""
        raise UserError(f"{name} must have 1, 3 or 4 channels in its last axis{hint}")
    return samples


def _checked_labels(file: Path, key: str, label: np.ndarray, count: int) -> np.ndarray:
    name = f"array '{one_line(key)}' of '{one_line(file)}' ({label.dtype} {list(label.shape)})"
    if label.shape != (count,):
        raise UserError(f"{name} must hold one label for each of the {count} samples")
    if label.dtype.kind not in "iu" or label.min() < 0 or label.max() >= 2**31 - 1:
        raise UserError(f"{name} must hold the integers 0 to classes - 1: pass label_key='' to ignore it")
    return label.astype(np.int32)
