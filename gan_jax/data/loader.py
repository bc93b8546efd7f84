"""Loads batches in host memory: streams them from a source, or gives indices into arrays on the device."""

import math
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import jax
import numpy as np

from ..errors import UserError, one_line
from .memory import host_memory_bytes
from .order import Order
from .source import Described, Source

Rows = dict[str, np.ndarray]
Spec = dict[str, jax.ShapeDtypeStruct]
_BLOCK = 256


def choose_resident(setting: Literal["auto"] | bool, source: Described, memory_bytes: int | None) -> bool:
    """Returns whether the decoded set is kept in device memory.

    "auto" keeps a set that is smaller than 1/8 of `memory_bytes`, the memory of one device. Pass None for a device
    that does not report its memory (the CPU); the memory of the host then counts.
    """
    if isinstance(setting, bool):
        return setting
    if setting != "auto":
        raise UserError(f"resident must be auto, true or false, not '{setting}'")
    sample_bytes = math.prod(source.shape) * source.dtype.itemsize + (0 if source.classes is None else 4)
    available = host_memory_bytes() if memory_bytes is None else memory_bytes
    return len(source) * sample_bytes < available / 8


def resident_spec(source: Described, labels: bool = True) -> Spec:
    """Returns the shapes and dtypes of what `read_resident` returns."""
    spec = {"image": jax.ShapeDtypeStruct((len(source), math.prod(source.shape)), source.dtype)}
    if labels and source.classes is not None:
        spec["label"] = jax.ShapeDtypeStruct((len(source),), np.dtype(np.int32))
    return spec


def read_resident(source: Source, labels: bool = True) -> Rows:
    """Reads all rows as a step gathers them: "image" is `[N, numbers of a sample]`.

    From `[N, H, W, C]` a TPU would copy the whole set to another layout in every step.
    """
    rows = read_all(source, labels)
    return {**rows, "image": rows["image"].reshape(len(source), math.prod(source.shape))}


def read_all(source: Source, labels: bool = True) -> Rows:
    """Reads all rows of the source in order, on all cores: "image" [N, ...], and "label" [N] if it has labels.

    Args:
        source: the data.
        labels: False leaves the labels out.
    """
    count = len(source)
    try:
        rows: Rows = {"image": np.empty((count, *source.shape), source.dtype)}
    except (MemoryError, ValueError) as error:  # ValueError: larger than NumPy allows
        raise UserError(f"{source.fingerprint()} does not fit in memory: pass data.resident=false") from error
    if labels and source.classes is not None:
        rows["label"] = np.empty(count, np.int32)

    def read_block(start: int) -> None:
        indices = np.arange(start, min(start + _BLOCK, count))
        block = read_rows(source, indices)
        for name, values in rows.items():
            values[indices[0] : indices[-1] + 1] = block[name]

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        futures = [pool.submit(read_block, start) for start in range(0, count, _BLOCK)]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()
    return rows


def read_rows(source: Source, indices: np.ndarray) -> Rows:
    """Returns `source.read(indices)`; an error names the record that cannot be read.

    A UserError, OSError or MemoryError becomes a UserError that names the record. Any other exception is a bug in
    the code of the source: it keeps its type, and a note names the record.
    """
    try:
        return source.read(indices)
    except Exception as failure:
        index, error = _first_failure(source, indices) or (None, failure)
        where = f"record {index} of {source.fingerprint()}" if index is not None else source.fingerprint()
        if isinstance(error, UserError | OSError | MemoryError):
            raise UserError(f"{where}: {one_line(error, 2000)}") from error
        error.add_note(f"while reading {where}")
        raise error from None


def _first_failure(source: Source, indices: np.ndarray) -> tuple[int, Exception] | None:
    for index in indices:
        try:
            source.read(np.array([index]))
        except Exception as error:
            return int(index), error
    return None


class Loader:
    """An endless iterator of batches in host memory: one item for each chunk of `fuse` steps from `start_step` on.

    Use it as a context manager. Every leaf has the leading axes [fuse] if fuse > 1, [batches_per_step] if
    batches_per_step > 1, then [batch]. A resident loader gives {"index": int32}, indices into the arrays of
    `read_resident`, which the device gathers. A streaming loader gives {"image", "label"}, which `workers` threads
    read up to `prefetch` chunks ahead. Both give the same batches in the same order, bit for bit.

    batch:            the number of samples in a global batch.
    batches_per_step: the number of batches that one step takes (`GAN.batches_per_step`).
    local:            the samples of each global batch that this process loads; None loads all.
    labels:           False leaves the labels out.

    If a record cannot be read, `next` raises when it reaches the chunk of that record (see `read_rows`).
    """

    def __init__(
        self,
        source: Source,
        *,
        seed: int,
        batch: int,
        batches_per_step: int = 1,
        fuse: int = 1,
        start_step: int = 0,
        resident: bool,
        workers: int = 2,
        prefetch: int = 2,
        local: slice | None = None,
        labels: bool = True,
    ):
        if min(batch, batches_per_step, fuse, workers, prefetch) < 1:
            raise ValueError("batch, batches_per_step, fuse, workers and prefetch must be at least 1")
        if start_step % fuse:
            raise ValueError(f"start_step must be a multiple of fuse={fuse}, not {start_step}")
        if resident and len(source) > np.iinfo(np.int32).max:
            raise UserError(
                f"a resident set must have fewer than 2**31 rows, not {len(source)}: pass data.resident=false"
            )
        self._source, self._order = source, Order(seed, len(source))
        self._batch, self._batches_per_step, self._fuse = batch, batches_per_step, fuse
        self._local = local or slice(None)
        self._next_step = start_step
        self._pending: deque[Future[Rows]] = deque()
        self._closed = False
        self._pool = None if resident else ThreadPoolExecutor(workers, thread_name_prefix="gan_jax-data")
        self._prefetch = prefetch
        self._labels = labels and source.classes is not None

    @property
    def spec(self) -> Spec:
        """The shape and dtype of each leaf of what the loaders of all processes together give for one chunk."""
        chunk = (self._fuse,) if self._fuse > 1 else ()
        lead = (
            (*chunk, self._batch) if self._batches_per_step == 1 else (*chunk, self._batches_per_step, self._batch)
        )
        if self._pool is None:
            return {"index": jax.ShapeDtypeStruct(lead, np.dtype(np.int32))}
        spec = {"image": jax.ShapeDtypeStruct((*lead, *self._source.shape), self._source.dtype)}
        if self._labels:
            spec["label"] = jax.ShapeDtypeStruct(lead, np.dtype(np.int32))
        return spec

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> Rows:
        if self._closed:
            raise StopIteration
        if self._pool is None:
            self._next_step += self._fuse
            return {"index": self._indices(self._next_step - self._fuse).astype(np.int32)}
        self._submit()
        try:
            rows = self._pending.popleft().result()
        except BaseException:
            self.close()
            raise
        self._submit()
        return rows

    def close(self) -> None:
        """Stops the worker threads and waits for them; the iteration ends."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()

    def __enter__(self) -> "Loader":
        self._submit()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self) -> None:
        while self._pool is not None and len(self._pending) < self._prefetch:
            self._pending.append(self._pool.submit(self._read, self._next_step))
            self._next_step += self._fuse

    def _indices(self, first_step: int) -> np.ndarray:
        steps = range(first_step, first_step + self._fuse)
        rows = np.stack([self._order.step_rows(step, self._batch, self._batches_per_step) for step in steps])
        return (rows if self._fuse > 1 else rows[0])[..., self._local]

    def _read(self, first_step: int) -> Rows:
        indices = self._indices(first_step)
        rows = read_rows(self._source, indices.reshape(-1))
        return {
            name: values.reshape(*indices.shape, *values.shape[1:])
            for name, values in rows.items()
            if name != "label" or self._labels
        }
