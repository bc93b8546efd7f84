"""Reads the named arrays of a file of weights: safetensors, .npz or PyTorch. Nothing in a file is run."""

import os
import re
from pathlib import Path

import numpy as np

from ..data.memory import available_memory_bytes
from ..errors import UserError, first_line, one_line
from ..metrics.features.torch_weights import read_torch, read_weights

# A name of `torch.nn.utils.parametrizations.spectral_norm`, and that of `torch.nn.utils.spectral_norm`.
_PARAMETRIZED = {
    "parametrizations.weight.original": "weight_orig", "parametrizations.weight.0._u": "weight_u",
    "parametrizations.weight.0._v": "weight_v",
}  # fmt: skip
_STATE_DICT = (
    "a pickle of Python objects is never opened: load it with the code that it is from, and save the networks "
    "with torch.save({'g_ema': G_ema.state_dict(), 'd': D.state_dict()}, 'weights.pth')"
)


def read_foreign(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a file by their names. Names in dictionaries are joined by dots: `g_ema.conv1.weight`.

    Raises:
        UserError: there is no such file, or it is damaged, too large or of another format.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise UserError(f"{one_line(path)} can't be read: {error.strerror or error}") from None
    if path.suffix.lower() == ".npz":
        arrays = read_weights(path)
    elif start[8:9] == b"{":  # before the others: the length of a header may begin as they do
        arrays = _read_safetensors(path)
    elif start[:2] == b"PK" or start[:1] == b"\x80":
        arrays = _read_torch(path)
    else:
        raise UserError(f"{one_line(path)} is no file of weights: give a safetensors, .npz or PyTorch file")
    return {_plain(name): array for name, array in arrays.items()}


def _plain(name: str) -> str:
    for new, old in _PARAMETRIZED.items():
        if name.endswith(f".{new}"):
            return name.removesuffix(new) + old
    return name


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_torch(path, nested=True)
    except UserError as error:
        asks = re.search(r"asks for (?!os\b|posix\b|nt\b|subprocess\b|builtins\b)", str(error))
        if asks or "is not a PyTorch file" in str(error):
            raise UserError(f"{error}; {_STATE_DICT}") from None
        raise


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import safe_open

    if (size := os.path.getsize(path)) > (available := available_memory_bytes()):
        raise UserError(
            f"{one_line(path)} has {size:,} bytes, but this host has {available:,} of memory available"
        )
    try:
        with safe_open(path, framework="numpy") as file:  # it checks the header, the offsets and the size
            return {name: file.get_tensor(name) for name in list(file.keys())}
    except Exception as error:  # the library raises its own exception, and TypeError for types that NumPy lacks
        raise UserError(f"{one_line(path)} can't be read as safetensors: {one_line(first_line(error))}") from None
