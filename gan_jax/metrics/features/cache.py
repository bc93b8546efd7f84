"""Features of the data, kept in the user's cache folder: they are the same for every generator measured on it.

A file is `features/<digest of its key>.npz` in `compilation_cache.home()`, without pickle, and holds its key. One
that is torn, or holds another key, is computed again. `GAN_JAX_CACHE=off` keeps none.
"""

import contextlib
import hashlib
import io
import json
import os
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...runtime import compilation_cache
from ..frechet import Statistics, statistics

FORMAT = 1  # a change of what the files hold raises it
LARGEST_BYTES = 2**29  # 60,000 images in 2048 numbers; of more the statistics alone are kept
LIMIT_BYTES = 2**32  # of the folder
KEY = ("extractor", "weights", "resize", "quantisation", "data", "split", "count", "seed")

Arrays = dict[str, np.ndarray]


class Features(NamedTuple):
    """features: float32 [N, D]. logits: float32 [N, K], where there are some. labels: the data's, int32 [N]."""

    features: np.ndarray
    logits: np.ndarray | None = None
    labels: np.ndarray | None = None


def reference_key(
    *, extractor: str, weights: str, resize: str, quantisation: str, data: str, split: str, count: int, seed: int
) -> dict[str, Any]:
    """Everything that features of the data depend on.

    Args:
        extractor, weights, resize: as in `Extractor`.
        quantisation: how images become bytes.
        data: the source's fingerprint.
        split, count, seed: which rows of it: a random `count` of them by `seed`.
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


def cached_features(key: Mapping[str, Any], compute: Callable[[], Features]) -> Features:
    """The features under a key, by `compute` where they are not kept yet, or are too many to keep.

    Args:
        key: as `reference_key` makes it; more may be added.

    Raises:
        ValueError: the key lacks something.
    """
    _check_key(key)

    def arrays() -> Arrays:
        found = compute()._asdict()
        types = {"features": np.float32, "logits": np.float32, "labels": np.int32}
        return {name: np.asarray(value, types[name]) for name, value in found.items() if value is not None}

    return Features(**cached_arrays({"kind": "features", **key}, arrays))


def cached_statistics(key: Mapping[str, Any], compute: Callable[[], np.ndarray]) -> Statistics:
    """The mean and covariance of the features under a key; `compute` gives the features `[N, D]`.

    Raises:
        ValueError: the key lacks something, or the features have no statistics.
    """
    _check_key(key)

    def arrays() -> Arrays:
        mean, covariance, count = statistics(compute())
        return {"mean": mean, "covariance": covariance, "count": np.asarray(count)}

    found = cached_arrays({"kind": "statistics", **key}, arrays)
    return Statistics(found["mean"], found["covariance"], int(found["count"]))


def cached_arrays(key: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
    """Named arrays under a key of JSON values. What can't be kept is given all the same, with a warning."""
    text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
    home = folder() if compilation_cache.wanted() else None
    path = home / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.npz" if home else None
    if path and (found := _load(path, text)) is not None:
        return found
    arrays = compute()
    if path and sum(array.nbytes for array in arrays.values()) <= LARGEST_BYTES:
        try:
            _store(path, text, arrays)
        except OSError as error:
            reason = f"{error.filename or path}: {error.strerror or error}"
            warnings.warn(f"features of the data are not kept: {reason}", stacklevel=2)
    return arrays


def folder() -> Path:
    """Where features are kept: beside the compiled programs."""
    return compilation_cache.home() / "features"


def _check_key(key: Mapping[str, Any]) -> None:
    missing = [name for name in KEY if name not in key]
    if missing:
        raise ValueError(f"the key of kept features lacks {', '.join(missing)}: make it by reference_key")


def _load(path: Path, text: str) -> Arrays | None:
    """The arrays of a file; None where it is missing, torn (every array has a checksum), or of another key."""
    try:
        compilation_cache.make_private(path.parent)
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        os.utime(path)  # in use: the oldest are removed first
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    return arrays if arrays.pop("key", np.asarray("")).tolist() == text else None


def _store(path: Path, text: str, arrays: Arrays) -> None:
    """The whole file, or none: others read this folder meanwhile."""
    for home in (path.parent.parent, path.parent):
        compilation_cache.make_private(home)
    content = io.BytesIO()
    np.savez(content, **{**arrays, "key": np.asarray(text)})  # pyright: ignore[reportArgumentType]
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with open(handle, "wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _tidy(path.parent)


def _tidy(home: Path) -> None:
    """Removes the files longest unused, and what a killed process left half written an hour ago."""
    total, entries = 0, []
    for path in home.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process tidies too
            entries.append((path.stat(), path))
    for found, path in sorted(entries, key=lambda entry: entry[0].st_mtime, reverse=True):
        left = path.suffix == ".tmp" and time.time() - found.st_mtime > 3600
        total += found.st_size if path.suffix == ".npz" else 0
        if left or (path.suffix == ".npz" and total > LIMIT_BYTES):
            path.unlink(missing_ok=True)
