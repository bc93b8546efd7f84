"""Features of the data, kept in the user's cache folder, because they are the same for every generator.

A file is `features/<digest of its key>.npz` in `user_cache.home()`. It holds its key and no pickles. If it
is damaged, or holds another key, the features are computed again. `GAN_JAX_CACHE=off` turns the cache off.
"""

import hashlib
import io
import json
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...files import user_cache
from ...files.folder import write_atomically
from ..frechet import Statistics, statistics

FORMAT = 1  # raised by every change of the files' content
LARGEST_BYTES = 2**29  # of a file: 60,000 images with 2048 features. Of more images only the statistics are kept
LIMIT_BYTES = 2**32  # of the folder
_ABANDONED = 3600.0  # seconds, after which a temporary file is one that a killed process left
KEY = ("extractor", "weights", "resize", "quantisation", "data", "split", "count", "seed")

Arrays = dict[str, np.ndarray]


class Features(NamedTuple):
    """Features of the data.

    Attributes:
        features: float32 `[N, D]`.
        logits: float32 `[N, K]`, or None.
        labels: those of the data, int32 `[N]`, or None.
    """

    features: np.ndarray
    logits: np.ndarray | None = None
    labels: np.ndarray | None = None


def reference_key(
    *, extractor: str, weights: str, resize: str, quantisation: str, data: str, split: str, count: int, seed: int
) -> dict[str, object]:
    """Returns the key of cached features: everything that they depend on.

    Args:
        extractor, weights, resize: see `Extractor`.
        quantisation: how images become bytes.
        data: fingerprint of the source.
        split: part of the data.
        count, seed: the number of images, and the seed that chooses them.
    """
    return dict(
        extractor=extractor,
        weights=weights,
        resize=resize,
        quantisation=quantisation,
        data=data,
        split=split,
        count=count,
        seed=seed,
    )


def cached_features(key: Mapping[str, object], compute: Callable[[], Features]) -> Features:
    """Returns the cached features of a key. If there are none, it computes them, and caches them if they fit.

    Args:
        key: the result of `reference_key`; entries may be added.

    Raises:
        ValueError: an entry is missing in the key.
    """
    _check_key(key)

    def arrays() -> Arrays:
        computed = compute()._asdict()
        types = {"features": np.float32, "logits": np.float32, "labels": np.int32}
        return {name: np.asarray(value, types[name]) for name, value in computed.items() if value is not None}

    return Features(**cached_arrays({"kind": "features", **key}, arrays))


def cached_statistics(key: Mapping[str, object], compute: Callable[[], np.ndarray]) -> Statistics:
    """Returns the cached mean and covariance of a key's features; `compute` returns the features `[N, D]`.

    Raises:
        ValueError: an entry is missing in the key, or the features have no statistics (see `statistics`).
    """
    _check_key(key)

    def arrays() -> Arrays:
        mean, covariance, count = statistics(compute())
        return {"mean": mean, "covariance": covariance, "count": np.asarray(count)}

    cached = cached_arrays({"kind": "statistics", **key}, arrays)
    return Statistics(cached["mean"], cached["covariance"], int(cached["count"]))


def cached_arrays(key: Mapping[str, object], compute: Callable[[], Arrays]) -> Arrays:
    """Returns the cached arrays of a key of JSON values, or else those of `compute`, which it caches.

    It warns if the arrays can't be cached.
    """
    text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
    home = folder() if user_cache.wanted() else None
    path = home / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.npz" if home else None
    if path and (cached := _load(path, text)) is not None:
        return cached
    arrays = compute()
    if path and sum(array.nbytes for array in arrays.values()) <= LARGEST_BYTES:
        try:
            _store(path, text, arrays)
        except OSError as error:
            reason = f"{error.filename or path}: {error.strerror or error}"
            warnings.warn(f"the features of the data are not cached: {reason}", stacklevel=2)
    return arrays


def folder() -> Path:
    """Returns the folder of cached features. It lies beside that of compiled programs."""
    return user_cache.home() / "features"


def _check_key(key: Mapping[str, object]) -> None:
    missing = [name for name in KEY if name not in key]
    if missing:
        raise ValueError(f"the key of cached features lacks {', '.join(missing)}: make it by reference_key")


def _load(path: Path, text: str) -> Arrays | None:
    """Returns the arrays of a file; None if it is missing, damaged (arrays have checksums), or of another key."""
    try:
        user_cache.make_private(path.parent)
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        os.utime(path)  # the files that are unused longest are removed first
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    return arrays if arrays.pop("key", np.asarray("")).tolist() == text else None


def _store(path: Path, text: str, arrays: Arrays) -> None:
    """Writes a file in one rename, because other processes read and write this folder too."""
    for home in (path.parent.parent, path.parent):
        user_cache.make_private(home)
    content = io.BytesIO()
    np.savez(content, **{**arrays, "key": np.asarray(text)})  # pyright: ignore[reportArgumentType]
    write_atomically(path, content.getvalue(), mode=0o600)
    user_cache.tidy(path.parent, ".npz", LIMIT_BYTES, _ABANDONED)
