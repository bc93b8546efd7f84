"""Unpickles PyTorch's state dicts without PyTorch, and without running anything that a pickle may contain.

A pickle names functions to call. This unpickler has stand-ins for the few that rebuild tensors, and refuses every
other name. The numbers of the tensors lie outside the pickle, as raw bytes. `plain_pickle` reads the opcodes.
"""

import math
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from .plain_pickle import PlainUnpickler, Refused

_STORAGES = {
    "Double": np.float64, "Float": np.float32, "Half": np.float16, "BFloat16": jnp.bfloat16, "Long": np.int64,
    "Int": np.int32, "Short": np.int16, "Char": np.int8, "Byte": np.uint8, "Bool": np.bool_,
}  # fmt: skip
_DTYPES = {
    "float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": jnp.bfloat16,
    "int64": np.int64, "int32": np.int32, "int16": np.int16, "int8": np.int8, "uint8": np.uint8, "bool": np.bool_,
}  # fmt: skip
_IGNORED = {
    ("argparse", "Namespace"), ("numpy", "dtype"), ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"), ("_codecs", "encode"), ("torch", "Size"), ("torch", "device"),
}  # fmt: skip
_NOT_TENSORS = "does not hold named tensors alone: save a network's state_dict()"
_MAX_EXPANDED = 2**24  # elements of a tensor that repeats stored numbers, by a stride of 0
_MAX_DEPTH = 16  # of dictionaries in dictionaries
_MAX_RANK = 32  # of a tensor


class _Dtype(NamedTuple):
    """The stand-in for a dtype, or a class of storages, of PyTorch."""

    type: DTypeLike


class Storage(NamedTuple):
    """A run of `numel` numbers, which lies in the file under a key."""

    key: str
    dtype: np.dtype
    numel: int


class _Tensor(NamedTuple):
    """A tensor whose numbers are not read yet."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


_ORDERED = object()  # the stand-in for OrderedDict
_IGNORED_VALUE = object()  # the stand-in for a value beside the tensors, such as the arguments of a program


class Unpickler(PlainUnpickler):
    """An unpickler that allows the names in `_allowed` alone.

    Args:
        file: is read from where it stands.
        nested: allows the names in `_IGNORED` too, for values that training programs save beside the tensors.

    Attributes:
        storages: those that the pickle has named, by key.
    """

    def __init__(self, file: BinaryIO, nested: bool = False):
        super().__init__(file)
        self.storages: dict[str, Storage] = {}
        self._nested = nested

    def find(self, module: str, name: str) -> object:
        stand_in = _IGNORED_VALUE if self._nested and (module, name) in _IGNORED else _allowed(module, name)
        if stand_in is None:
            raise Refused(f"asks for {module}.{name}, which no file of weights needs: it was not read further")
        return stand_in

    def call(self, function: object, arguments: tuple) -> object:
        if function is _IGNORED_VALUE:
            return function
        if function is _rebuild_tensor or function is _rebuild_parameter:
            return function(*arguments)  # type: ignore[operator]
        if function is not _ORDERED or len(arguments) > 1:
            raise Refused("is damaged: it calls what is no function")
        made: dict = {}
        for pair in arguments[0] if arguments else ():
            self.fill(made, list(pair))
        return made

    def set_state(self, value: object) -> None:
        if value is not _IGNORED_VALUE and type(value) is not dict:
            raise Refused("changes a function or a type: it was not read further")

    def refer(self, reference: object) -> Storage:
        kind, dtype, key, _, numel, *view = _members(reference)
        is_known = kind == "storage" and isinstance(dtype, _Dtype) and type(key) is str and not any(view)
        if not is_known or not _are_counts([numel]):
            raise Refused("describes its numbers in a way which this reader doesn't know")
        storage = Storage(key, np.dtype(dtype.type), numel)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise Refused(f"describes storage {key} in two ways")
        return storage

    def store(self, target: dict, key: object, value: object) -> None:
        if isinstance(key, str | int):
            target[key] = value
        elif not self._nested:
            raise Refused(_NOT_TENSORS)


def _members(reference: object) -> tuple:
    if type(reference) is not tuple or len(reference) < 5:
        raise Refused("describes its numbers in a way which this reader doesn't know")
    return reference


def read_arrays(state: object, read: Callable[[Storage], np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays of an unpickled state dict; `read` returns the numbers of a storage.

    Raises:
        Refused: it is not a dictionary of named tensors.
    """
    if not isinstance(state, dict):
        raise Refused(_NOT_TENSORS)
    tensors = state
    if not all(isinstance(name, str) and isinstance(value, _Tensor) for name, value in tensors.items()):
        raise Refused(_NOT_TENSORS)
    return {name: _array(tensor, read) for name, tensor in tensors.items()}


def read_nested(state: object, read: Callable[[Storage], np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays of dictionaries and lists in one another, by their paths, such as `g_ema.conv1.weight`.

    Values that are no tensors are left out. Of a dictionary that is there twice, the first place counts.

    Raises:
        Refused: it is no dictionary, holds itself, is too deep, or its tensors are far larger than what is stored.
    """
    if not isinstance(state, dict):
        raise Refused(_NOT_TENSORS)
    tensors: dict[str, _Tensor] = {}
    _walk(state, "", tensors, [], set())
    stored = {tensor.storage for tensor in tensors.values()}
    if sum(math.prod(t.size) for t in tensors.values()) > 2 * sum(s.numel for s in stored) + _MAX_EXPANDED:
        raise Refused("has tensors that are far larger than the numbers in it")
    return {name: _array(tensor, read) for name, tensor in tensors.items()}


def _walk(node: object, path: str, found: dict[str, _Tensor], above: list[int], seen: set[int]) -> None:
    """Adds the tensors in a node to `found`; `above` has the containers around it, `seen` all before it."""
    if isinstance(node, _Tensor):
        if found.setdefault(path, node) is not node:
            raise Refused(f"has two tensors of the name {path}")
        return
    if id(node) in above:
        raise Refused(f"has a dictionary or list that holds itself, {path[:80]}")
    if type(node) not in (dict, list, tuple) or id(node) in seen:
        return
    if len(above) >= _MAX_DEPTH:
        raise Refused(f"has more than {_MAX_DEPTH} dictionaries in one another")
    seen.add(id(node))
    members = node.items() if isinstance(node, dict) else enumerate(node)  # type: ignore[arg-type]
    for key, value in members:
        if isinstance(key, str | int):
            _walk(value, f"{path}.{key}" if path else str(key), found, [*above, id(node)], seen)


def _allowed(module: str, name: str) -> object:
    """Returns the stand-in for a name in a pickle, or None."""
    if (module, name) == ("collections", "OrderedDict"):
        return _ORDERED
    # The first one has four arguments. It is in files from before PyTorch 0.4, such as torchvision's VGG.
    if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
        return _rebuild_tensor
    if (module, name) == ("torch._utils", "_rebuild_parameter"):
        return _rebuild_parameter
    if module == "torch" and name.endswith("Storage") and name[:-7] in _STORAGES:
        return _Dtype(_STORAGES[name[:-7]])
    if module == "torch" and name in _DTYPES:
        return _Dtype(_DTYPES[name])
    return None


def _rebuild_tensor(
    storage: object,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: object = None,
    hooks: object = None,
    metadata: object = None,
) -> _Tensor:
    # The pickle gives the arguments, so their types are not trusted.
    if (
        not isinstance(storage, Storage)
        or not type(size) is type(stride) is tuple
        or not len(size) == len(stride) <= _MAX_RANK
        or not _are_counts([offset, *size, *stride])
    ):
        raise Refused("has a tensor of size, stride or offset that no tensor has")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    if 0 not in size and last >= storage.numel:
        raise Refused(f"is damaged: a tensor reaches number {last} of {storage.numel}")
    if math.prod(size) > max(storage.numel, _MAX_EXPANDED):
        raise Refused(f"has a tensor of size {size} over {storage.numel} numbers")
    return _Tensor(storage, offset, size, stride)


def _rebuild_parameter(data: object, requires_grad: object, hooks: object) -> object:
    return data


def _are_counts(values: Sequence[object]) -> bool:
    return all(type(n) is int and 0 <= n < 2**62 for n in values)


def _array(tensor: _Tensor, read: Callable[[Storage], np.ndarray]) -> np.ndarray:
    storage = read(tensor.storage)
    if 0 in tensor.size:
        return np.zeros(tensor.size, storage.dtype)
    strides = [step * storage.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.size, strides).copy()
