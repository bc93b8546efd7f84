"""The order of the rows, a pure function of the seed and the position, so a checkpoint saves no state for it."""

import contextlib
import threading

import jax
import numpy as np

_KEPT_EPOCHS = 2


class Order:
    """The order in which a run reads a set of `size` rows: at position n it reads perm(seed, n // size)[n % size].

    perm(seed, epoch) = jax.random.permutation(fold_in(key(seed), epoch), size), with threefry keys. A batch may
    cross the border between epochs, so no row is dropped, and a set may be smaller than a batch.
    """

    def __init__(self, seed: int, size: int):
        if size < 1:
            raise ValueError("size must be at least one row")
        self.seed, self.size = seed, size
        self._epochs: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def rows(self, start: int, count: int) -> np.ndarray:
        """Returns the rows at positions start to start + count - 1: int64 [count], each in [0, size)."""
        stop = start + count
        pieces = [np.empty(0, np.int64)]  # for count 0
        for epoch in range(start // self.size, -(-stop // self.size)):
            first = epoch * self.size
            pieces.append(self._permutation(epoch)[max(start - first, 0) : stop - first])
        return np.concatenate(pieces)

    def step_rows(self, step: int, batch: int, batches_per_step: int = 1) -> np.ndarray:
        """Returns the rows of one step: int64 [batch], or [batches_per_step, batch] if batches_per_step > 1."""
        count = batches_per_step * batch
        rows = self.rows(step * count, count)
        return rows if batches_per_step == 1 else rows.reshape(batches_per_step, batch)

    def _permutation(self, epoch: int) -> np.ndarray:
        with self._lock:
            if epoch not in self._epochs:
                self._epochs[epoch] = _permutation(self.seed, epoch, self.size)
                while len(self._epochs) > _KEPT_EPOCHS:
                    del self._epochs[next(iter(self._epochs))]
            return self._epochs[epoch]


def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    # On the CPU, because the accelerators are busy with training steps. The result is the same on any device.
    with on_host():
        key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), epoch)
        return np.asarray(jax.random.permutation(key, size)).astype(np.int64)


def on_host() -> contextlib.AbstractContextManager:
    """A context manager that makes the CPU the default device of JAX, if JAX has a CPU device."""
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX_PLATFORMS excludes the CPU
        return contextlib.nullcontext()
