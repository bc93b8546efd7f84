"""Reads arrays of a NumPy .npz file, after checks of what they claim to be."""

import math
import warnings
import zipfile
from pathlib import Path

import numpy as np

from ..errors import UserError, one_line
from .containers import npy_advice
from .memory import MOST_UNPACKED, available_memory_bytes, is_bomb
from .source import DataMissingError, reason

NAMES = "names"  # the array of the names of the classes


def load_arrays(file: Path, image_key: str, label_key: str) -> dict[str, tuple[str, np.ndarray]]:
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
            return {role: (key, read_member(archive, members[key])) for role, key in keys.items()}
    except UserError:
        raise
    except Exception as error:  # zipfile and NumPy may raise any exception for damaged bytes
        raise UserError(f"'{shown}' cannot be read as an .npz file: {reason(error)}") from error


def _choose_arrays(shown: str, names: list[str], image_key: str, label_key: str) -> dict[str, str]:
    """Returns the names of the arrays to read as "image" and as "label"."""
    keys = {"label": label_key} if label_key in names else {}
    if keys and NAMES in names:
        keys["names"] = NAMES
    samples = [name for name in names if name not in (label_key, NAMES)]
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


def read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Reads one array, after a check of its size. Damaged bytes may raise any exception."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(name) as member, warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy warns about headers that Python 2 wrote
        version = np.lib.format.read_magic(member)
        if version not in readers:
            raise ValueError(f"its {name} is no array of numbers")
        shape, _, dtype = readers[version](member)
        if dtype.hasobject:
            raise ValueError(f"its {name} holds pickled Python objects, which are never loaded")
        claimed = math.prod(shape) * dtype.itemsize
        held = archive.getinfo(name).file_size - member.tell()
        if claimed != held:
            raise ValueError(f"its {name} claims {claimed:,} bytes of numbers but holds {held:,}")
        member.seek(0)
        array = np.lib.format.read_array(member, allow_pickle=False)
    if dtype.kind == "U":
        try:
            array.tolist()
        except (SystemError, ValueError):  # numbers above those of Unicode
            raise ValueError(f"its {name} holds numbers that are no text") from None
    return array
