"""Tensors out of PyTorch's files, without PyTorch and without running what a pickle may hold.

A file of weights is a pickle that names functions to call. This reader knows the few that rebuild tensors and
refuses a file that names any other; the numbers themselves lie beside the pickle, as raw bytes.
"""

import hashlib
import io
import math
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

from ...errors import UserError

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the format before PyTorch 1.6
_STORAGES = {
    "Double": np.float64, "Float": np.float32, "Half": np.float16, "BFloat16": jnp.bfloat16, "Long": np.int64,
    "Int": np.int32, "Short": np.int16, "Char": np.int8, "Byte": np.uint8, "Bool": np.bool_,
}  # fmt: skip
_DTYPES = {
    "float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": jnp.bfloat16,
    "int64": np.int64, "int32": np.int32, "int16": np.int16, "int8": np.int8, "uint8": np.uint8, "bool": np.bool_,
}  # fmt: skip
_BIG_ENDIAN = "was written on a big-endian machine: write it again on a little-endian one"
_OTHER = "does not hold named tensors alone: save a network's state_dict()"
_MOST_PICKLE = 2**26  # bytes; a state dict's own is some thousands
_MOST_EXPANDED = 2**24  # elements that a tensor with a stride of 0 may make of fewer stored ones


class _Dtype(NamedTuple):
    """A type of numbers, as storages and dtypes name it."""

    type: Any


class _Storage(NamedTuple):
    """Where numbers lie: a run of them under a key."""

    key: str
    dtype: np.dtype
    numel: int


class _Tensor(NamedTuple):
    """A tensor before its numbers are read."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Refused(Exception):
    """What is wrong with a file, to follow its name."""


def digest(path: str | Path) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Named arrays of an .npz file or, by any other name, of a PyTorch file (`read_torch`).

    Raises:
        UserError: there is no such file, or it isn't one of these.
    """
    if Path(path).suffix != ".npz":
        return read_torch(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # zipfile and NumPy raise nearly anything on damaged bytes
        raise UserError(f"'{path}' can't be read as arrays: {type(error).__name__}: {error}") from None


def read_torch(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict that `torch.save` wrote, in its zip format or in the one before PyTorch 1.6.

    Nothing that the file names is imported or called, but for `OrderedDict` and this module's own stand-ins for
    PyTorch's `_rebuild_tensor_v2`, `_rebuild_parameter`, storages and dtypes.

    Raises:
        UserError: there is no such file; it holds something else than named tensors, and the message names the
            global that was refused; or it is damaged.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(2)
            file.seek(0)
            if start not in (b"PK", b"\x80\x02"):
                raise _Refused("is not a PyTorch file of weights")
            return _read_zip(file) if start == b"PK" else _read_legacy(file)
    except OSError as error:
        raise UserError(f"'{path}' can't be read: {error.strerror or error}") from None
    except _Refused as error:
        raise UserError(f"'{path}' {error}") from None
    # A damaged pickle may raise anything, as pickle's own documentation says.
    except Exception as error:
        raise UserError(f"'{path}' is damaged, or not a PyTorch file: {type(error).__name__}: {error}") from None


class _Unpickler(pickle.Unpickler):
    """Admits what `_admitted` names, and notes the storages that are spoken of."""

    def __init__(self, file: Any):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        found = _admitted(module, name)
        if found is None:
            raise _Refused(f"asks for {module}.{name}, which no file of weights needs: it was not read further")
        return found

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, numel, *view = pid
        if kind != "storage" or not isinstance(dtype, _Dtype) or any(view) or not _counts([numel]):
            raise _Refused(f"describes its numbers as {str(pid)[:80]}, which is not understood")
        storage = _Storage(str(key), np.dtype(dtype.type), numel)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise _Refused(f"describes storage {key} in two ways")
        return storage


def _admitted(module: str, name: str) -> Any:
    """What a pickle gets for a name, or None. Nothing of it can be changed from inside a pickle."""
    if (module, name) == ("collections", "OrderedDict"):
        return OrderedDict
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
        return _RebuildTensor()
    if (module, name) == ("torch._utils", "_rebuild_parameter"):
        return _RebuildParameter()
    if module == "torch" and name.endswith("Storage") and name[:-7] in _STORAGES:
        return _Dtype(_STORAGES[name[:-7]])
    if module == "torch" and name in _DTYPES:
        return _Dtype(_DTYPES[name])
    return None


class _RebuildTensor:
    __slots__ = ()

    def __call__(
        self,
        storage: Any,
        offset: Any,
        size: Any,
        stride: Any,
        requires_grad: Any,
        hooks: Any,
        metadata: Any = None,
    ) -> _Tensor:
        whole = isinstance(storage, _Storage) and type(size) is type(stride) is tuple and len(size) == len(stride)
        if not whole or not _counts([offset, *size, *stride]):
            raise _Refused(f"has a tensor of size {size}, stride {stride} and offset {offset}")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride))
        if 0 not in size and last >= storage.numel:
            raise _Refused(f"is damaged: a tensor reaches number {last} of {storage.numel}")
        if math.prod(size) > max(storage.numel, _MOST_EXPANDED):
            raise _Refused(f"has a tensor of size {size} over {storage.numel} numbers")
        return _Tensor(storage, offset, size, stride)


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, data: Any, requires_grad: Any, hooks: Any) -> Any:
        return data


def _counts(values: list[Any]) -> bool:
    return all(type(n) is int and 0 <= n < 2**62 for n in values)


def _resolve(found: Any, read: Callable[[_Storage], np.ndarray]) -> dict[str, np.ndarray]:
    """The named tensors with their numbers."""
    if not isinstance(found, dict):
        raise _Refused(_OTHER)
    tensors = dict(dict.items(found))
    if not all(isinstance(name, str) and isinstance(value, _Tensor) for name, value in tensors.items()):
        raise _Refused(_OTHER)
    return {name: _array(tensor, read) for name, tensor in tensors.items()}


def _array(tensor: _Tensor, read: Callable[[_Storage], np.ndarray]) -> np.ndarray:
    storage = read(tensor.storage)
    if 0 in tensor.size:
        return np.zeros(tensor.size, storage.dtype)
    strides = [step * storage.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.size, strides).copy()


def _numbers(data: bytes, storage: _Storage) -> np.ndarray:
    """A storage's bytes, little-endian, as numbers."""
    return np.frombuffer(data, storage.dtype.newbyteorder("<")).astype(storage.dtype, copy=False)


def _read_zip(file: BinaryIO) -> dict[str, np.ndarray]:
    """NAME/data.pkl beside NAME/data/KEY."""
    with zipfile.ZipFile(file) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        roots = [name[: -len("data.pkl")] for name in sizes if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise _Refused("is a zip file, but not one of torch.save's: it has no data.pkl")

        def contents(name: str, least: int, most: int) -> bytes:
            if not least <= sizes.get(roots[0] + name, -1) <= most:  # known before anything is unpacked
                raise _Refused(f"is damaged: its {name} is not there, or not of the size it should have")
            return archive.read(roots[0] + name)

        def numbers(storage: _Storage) -> np.ndarray:
            size = storage.numel * storage.dtype.itemsize
            return _numbers(contents(f"data/{storage.key}", size, size), storage)

        if f"{roots[0]}byteorder" in sizes and contents("byteorder", 0, 16).strip() != b"little":
            raise _Refused(_BIG_ENDIAN)
        return _resolve(_Unpickler(io.BytesIO(contents("data.pkl", 1, _MOST_PICKLE))).load(), numbers)


def _read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    """Pickles of a magic number, a version, the machine, the state dict and the keys; then each key's numbers."""
    pickles = [_Unpickler(file) for _ in range(5)]
    if (pickles[0].load(), pickles[1].load()) != (_MAGIC, _PROTOCOL):
        raise _Refused("is a pickle, but not one of torch.save's")
    if pickles[2].load().get("little_endian") is not True:
        raise _Refused(_BIG_ENDIAN)
    found, keys, storages = pickles[3].load(), pickles[4].load(), pickles[3].storages
    if type(keys) is not list or set(keys) != set(storages):
        raise _Refused("is damaged: its list of storages is not that of its tensors")
    left = os.fstat(file.fileno()).st_size - file.tell()
    arrays = {}
    for storage in (storages[key] for key in keys):
        size = storage.numel * storage.dtype.itemsize
        left -= 8 + size
        if left < 0 or int.from_bytes(file.read(8), "little") != storage.numel:
            raise _Refused(f"is damaged: storage {storage.key} is not of {storage.numel} numbers")
        arrays[storage.key] = _numbers(file.read(size), storage)
    return _resolve(found, lambda storage: arrays[storage.key])
