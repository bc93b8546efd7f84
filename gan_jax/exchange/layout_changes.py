"""Changes the order of the numbers of an array from PyTorch's to ours. The tables of published weights name these.

A function gets the array, its name, and all arrays of the network; it raises ValueError for another shape. A map
is `[C, H, W]` there and `[H, W, C]` here. A dense layer that gives or gets a map has one of 4 x 4.
"""

from collections.abc import Callable, Mapping

import numpy as np

_TAPS = 9  # of a 3 x 3 kernel
_PIXELS = 16  # of a 4 x 4 map

Arrays = Mapping[str, np.ndarray]


def kernel(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    """Returns `[O, I, h, w]` as `[h, w, I, O]`."""
    return x.transpose(2, 3, 1, 0)


def dense(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    """Returns `[O, I]` as `[I, O]`."""
    return x.transpose(1, 0)


def map(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    """Returns `[C, H, W]` as `[H, W, C]`."""
    return x.transpose(1, 2, 0)


def depthwise(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    """Returns `[C, 1, h, w]` as `[h, w, C]`."""
    return x.reshape(x.shape[0], *x.shape[2:]).transpose(1, 2, 0)


def first(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    """Returns `[1, ...]` as `[...]`."""
    return x.reshape(x.shape[1:])


def flat(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    """Returns the numbers of a vector that has further axes of length 1."""
    return x.reshape(-1)


def scalar(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    """Returns the one number of an array."""
    return x.reshape(())


def rows_to_map(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    """Reorders the first axis of a layer that gives a map: `[C 16, ...]` as `[16 C, ...]`."""
    return x.reshape(-1, _PIXELS, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)


def columns_from_map(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    """Reorders the second axis of a layer that gets a map: `[O, C 16]` as `[O, 16 C]`."""
    return x.reshape(x.shape[0], -1, _PIXELS).swapaxes(1, 2).reshape(x.shape)


def taps(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    """Reorders a vector over the inputs of a 3 x 3 kernel: `[I 9]` as `[9 I]`."""
    return x.reshape(-1, _TAPS).T.reshape(-1)


def iterated_u(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    """Returns the left singular vector after one power iteration of BigGAN-PyTorch from `u0`, `[O]`."""
    return _iterated(x, name, arrays)[0]


def iterated_v(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    """Returns the right singular vector of that iteration, `[fan-in]`."""
    return _iterated(x, name, arrays)[1]


def _iterated(u: np.ndarray, name: str, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    weight = arrays[name.removesuffix("u0") + "weight"].astype(np.float64)
    matrix = weight.reshape(weight.shape[0], -1)
    v = _unit(u.astype(np.float64).reshape(-1) @ matrix)
    return _unit(matrix @ v), v


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


CHANGES: dict[str, Callable[[np.ndarray, str, Arrays], np.ndarray]] = {
    change.__name__: change
    for change in (
        kernel, dense, map, depthwise, first, flat, scalar, rows_to_map, columns_from_map, taps,
        iterated_u, iterated_v,
    )
}  # fmt: skip
