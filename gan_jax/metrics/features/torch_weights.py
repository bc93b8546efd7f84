"""Reads files of weights: .npz, and PyTorch's two formats without PyTorch. Nothing in a file is run."""

import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...data.npz_file import check_size
from ...errors import UserError, first_line, one_line
from .plain_pickle import Refused
from .torch_pickle import Storage, Unpickler, read_arrays, read_nested

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the legacy format, before PyTorch 1.6
_BIG_ENDIAN = "was written on a big-endian machine: save it again on a little-endian one"
_MAX_PICKLE = 2**26  # bytes; the pickle of a state dict has some thousands


def digest(path: str | Path) -> str:
    """Returns the first 16 hexadecimal digits of the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the named arrays of an .npz file or, if the name ends otherwise, of a PyTorch file (`read_torch`).

    Raises:
        UserError: there is no such file, or it has another format.
    """
    if Path(path).suffix != ".npz":
        return read_torch(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            check_size(os.path.getsize(path), stored.zip.infolist())
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # zipfile and NumPy raise nearly any exception for damaged bytes
        raise UserError(f"'{path}' can't be read as arrays: {type(error).__name__}: {error}") from None


def read_torch(path: str | Path, nested: bool = False) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict that `torch.save` wrote, in its zip format or its legacy format.

    With `nested` the file may hold dictionaries of tensors, numbers and other values in one another, as training
    programs save them; see `torch_pickle.read_nested`.

    Nothing that the file names is imported or called. `OrderedDict` and PyTorch's `_rebuild_tensor`,
    `_rebuild_tensor_v2`, `_rebuild_parameter`, storages and dtypes have stand-ins in `torch_pickle`. With `nested`
    a few more names have a stand-in that does nothing.

    Raises:
        UserError: there is no such file; it is damaged; or it holds something else than named tensors. Then the
            message has the name that was refused.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(2)
            file.seek(0)
            if start not in (b"PK", b"\x80\x02"):
                raise Refused("is not a PyTorch file of weights")
            return _read_zip(file, nested) if start == b"PK" else _read_legacy(file, nested)
    except OSError as error:
        raise UserError(f"'{path}' can't be read: {error.strerror or error}") from None
    except Refused as error:
        raise UserError(f"'{path}' {one_line(error)}") from None
    # A damaged pickle or zip file may raise nearly any exception.
    except Exception as error:
        raise UserError(
            f"'{path}' is damaged, or not a PyTorch file: {type(error).__name__}: {one_line(first_line(error))}"
        ) from None


def _numbers(data: bytes, storage: Storage) -> np.ndarray:
    """Returns the little-endian bytes of a storage as numbers."""
    return np.frombuffer(data, storage.dtype.newbyteorder("<")).astype(storage.dtype, copy=False)


def _read_zip(file: BinaryIO, nested: bool) -> dict[str, np.ndarray]:
    """Reads the zip format: the pickle is NAME/data.pkl, and a storage is NAME/data/KEY."""
    with zipfile.ZipFile(file) as archive:
        check_size(os.fstat(file.fileno()).st_size, archive.infolist())
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        roots = [name[: -len("data.pkl")] for name in sizes if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise Refused("is a zip file, but torch.save did not write it: it has no data.pkl")

        def contents(name: str, least: int, most: int) -> bytes:
            if not least <= sizes.get(roots[0] + name, -1) <= most:  # checked before anything is decompressed
                raise Refused(f"is damaged: its {name} is missing, or has the wrong size")
            return archive.read(roots[0] + name)

        def numbers(storage: Storage) -> np.ndarray:
            size = storage.numel * storage.dtype.itemsize
            return _numbers(contents(f"data/{storage.key}", size, size), storage)

        if f"{roots[0]}byteorder" in sizes and contents("byteorder", 0, 16).strip() != b"little":
            raise Refused(_BIG_ENDIAN)
        state = Unpickler(io.BytesIO(contents("data.pkl", 1, _MAX_PICKLE)), nested).load()
        return read_nested(state, numbers) if nested else read_arrays(state, numbers)


def _read_legacy(file: BinaryIO, nested: bool) -> dict[str, np.ndarray]:
    """Reads the legacy format: pickles of a magic number, version, machine, state dict and keys; then storages."""
    pickles = [Unpickler(file, nested) for _ in range(5)]
    if (pickles[0].load(), pickles[1].load()) != (_MAGIC, _PROTOCOL):
        raise Refused("is a pickle, but torch.save did not write it")
    machine = pickles[2].load()
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Refused(_BIG_ENDIAN)
    state, keys, storages = pickles[3].load(), pickles[4].load(), pickles[3].storages
    if type(keys) is not list or not all(type(key) is str for key in keys) or set(keys) != set(storages):
        raise Refused("is damaged: its list of storages is not that of its tensors")
    bytes_left = os.fstat(file.fileno()).st_size - file.tell()
    arrays = {}
    for storage in (storages[key] for key in keys):
        size = storage.numel * storage.dtype.itemsize
        bytes_left -= 8 + size
        if bytes_left < 0 or int.from_bytes(file.read(8), "little") != storage.numel:
            raise Refused(f"is damaged: storage {storage.key} doesn't have {storage.numel} numbers")
        arrays[storage.key] = _numbers(file.read(size), storage)
    read = read_nested if nested else read_arrays
    return read(state, lambda storage: arrays[storage.key])
