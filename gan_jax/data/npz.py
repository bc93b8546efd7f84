"""A source of images or vectors from a NumPy .npz file."""

import math
import warnings
import zipfile
from pathlib import Path

import numpy as np

from ..errors import UserError, one_line
from .arrays import Arrays
from .containers import npy_advice
from .decode import Range
from .image_set import used_labels
from .images import Channels, Crop, Filter, Size, Transform
from .memory import MOST_UNPACKED, available_memory_bytes, is_bomb
from .source import DataMissingError, Mirrored, Source, expand_path, reason

_NAMES = "names"  # the array of the names of the classes


def npz(
    path: str,
    image_key: str = "image",
    label_key: str = "label",
    size: Size | None = None,
    crop: Crop = "center",
    filter: Filter = "lanczos",
    channels: Channels | None = None,
    range: Range | None = None,
    mirror: bool = False,
) -> Source:
    """Returns a source of the samples in a .npz file, which are held in memory.

    Samples are images [N, H, W] or [N, H, W, C] with C = 1, 3 or 4, or float32 vectors [N, D]. They are the array
    `image_key`, or the only array of the file. Images are uint8, or any numbers if `range` says which values
    become 0 and 255. Labels are the array `label_key` of integers, if the file has it; "" ignores it. If they are
    not 0 to K - 1, the K different ones become these. The array `names` of text, if there is one, names the
    classes 0 to K - 1; names of the samples are not used. The image options do not apply to vectors. Raises
    UserError if the file cannot be used.
    """
    file = expand_path(path)
    arrays = _load(file, image_key, label_key)
    transform = Transform(size, crop, filter, channels, range)
    image = _checked_samples(file, *arrays["image"], transform)
    label = _checked_labels(file, *arrays["label"], len(image)) if "label" in arrays else None
    if image.ndim == 2 and (transform != Transform() or mirror):
        raise UserError(
            f"'{one_line(file)}' holds vectors: size, crop, filter, channels, range and mirror are only for images"
        )
    source = Npz(file, image, label, transform, arrays.get("names"))
    return Mirrored(source) if mirror else source


class Npz(Arrays):
    """A source of the arrays of a file; `npz` makes it.

    label: int64 [N] as in the file, or None.
    names: the name of the array of names in the file, and that array; None: there is none.
    """

    def __init__(
        self,
        file: Path,
        image: np.ndarray,
        label: np.ndarray | None,
        transform: Transform,
        names: tuple[str, np.ndarray] | None,
    ):
        self._raw, self._label_notes = (image, label, transform), list[str]()
        if label is None:
            super().__init__("npz", image, transform=transform)
            return
        class_names, note = (None, []) if names is None else _checked_names(file, *names, label)
        if class_names is None:
            label, class_names, self._label_notes = used_labels(label)
        self._label_notes = [*note, *self._label_notes]
        super().__init__("npz", image, label.astype(np.int32), len(class_names), transform, class_names)

    def notes(self) -> list[str]:
        return [*self._label_notes, *super().notes()]

    def fingerprint(self) -> str:
        earlier = self._earlier_classes()
        if earlier in (None, self.classes):
            return super().fingerprint()
        return f"{super().fingerprint()} classes={self.classes}"  # the labels may be the same

    def before(self) -> tuple[Arrays, str] | None:
        """Returns the source with the labels that gan_jax 0.1 gave, which are those of the file."""
        image, label, transform = self._raw
        earlier = self._earlier_classes()
        if label is None or earlier in (None, self.classes):
            return None
        source = Arrays("npz", image, label.astype(np.int32), earlier, transform)
        return source, source.fingerprint()

    def _earlier_classes(self) -> int | None:
        """Returns the number of classes in gan_jax 0.1; None: there are none, or it refused the labels."""
        label = self._raw[1]
        return None if label is None or label.min() < 0 else int(label.max()) + 1


def _load(file: Path, image_key: str, label_key: str) -> dict[str, tuple[str, np.ndarray]]:
    """Returns {"image": (name in the file, array)}, and the same for "label" if the file has labels."""
    shown = one_line(file)
    if not file.is_file():
        raise DataMissingError(f"there is no file '{shown}'")
    if file.suffix.lower() == ".npy":
        raise UserError(f"'{shown}' is one array: {npy_advice(file)}")
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
    if keys and _NAMES in names:
        keys["names"] = _NAMES
    samples = [name for name in names if name not in (label_key, _NAMES)]
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
    if is_bomb(packed, needed):
        raise ValueError(
            f"its {packed:,} bytes unpack to {needed:,}, more than {MOST_UNPACKED} times as many: save it "
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
            raise ValueError(f"its {name} holds pickled Python objects, which are never loaded")
        claimed = math.prod(shape) * dtype.itemsize
        held = archive.getinfo(name).file_size - member.tell()
        if claimed != held:
            raise ValueError(f"its {name} claims {claimed:,} bytes of numbers but holds {held:,}")
        member.seek(0)
        return np.lib.format.read_array(member, allow_pickle=False)


def _checked_samples(file: Path, key: str, samples: np.ndarray, transform: Transform) -> np.ndarray:
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
    if samples.dtype.kind not in "iuf":
        raise UserError(f"{name} must be uint8 to be used as images: convert it to uint8 values from 0 to 255")
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise UserError(f"{name} holds values that are not finite")
    if samples.dtype != np.uint8 and transform.range is None:
        raise UserError(
            f"{name} must be uint8 to be used as images: convert it, or pass data.source.range=LOW,HIGH for the "
            f"values that become 0 and 255 (it has {samples.min():g} to {samples.max():g})"
        )
    samples = samples[..., None] if samples.ndim == 3 else samples
    if samples.shape[-1] not in (1, 3, 4):
        hint = " (channels come last: transpose it)" if samples.shape[1] in (1, 3, 4) else ""
        raise UserError(f"{name} must have 1, 3 or 4 channels in its last axis{hint}")
    return samples


def _checked_labels(file: Path, key: str, label: np.ndarray, count: int) -> np.ndarray:
    name = f"array '{one_line(key)}' of '{one_line(file)}' ({label.dtype} {list(label.shape)})"
    if label.shape != (count,):
        raise UserError(f"{name} must hold one label for each of the {count} samples")
    if label.dtype.kind not in "iu" or label.min() < -(2**31) or label.max() >= 2**31 - 1:
        raise UserError(f"{name} must hold one integer for each sample: pass label_key='' to ignore it")
    return label.astype(np.int64)


def _checked_names(
    file: Path, key: str, names: np.ndarray, label: np.ndarray
) -> tuple[tuple[str, ...] | None, list[str]]:
    """Returns the names of the classes, or None for names of something else, and notes."""
    shown, classes = f"array '{one_line(key)}' of '{one_line(file)}'", int(label.max()) + 1
    if names.shape == label.shape and len(names) != classes:
        count = f"one element for each of the {len(label):,} samples"
        return None, [f"note: {shown} has {count}, so it does not name the classes"]
    if label.min() < 0:
        raise UserError(
            f"the labels of '{one_line(file)}' go down to {label.min()}, but {shown} names the classes from 0 on: "
            "remove the samples with other labels, or the names"
        )
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) < classes:
        raise UserError(
            f"{shown} ({names.dtype} {list(names.shape)}) must hold a text for each of the {classes} classes: "
            "remove it, or mend it"
        )
    return tuple(map(one_line, names.tolist())), []
