"""The order of the rows: a function of the seed and the row's number alone, with no state to save."""

import contextlib
import threading

import jax
import numpy as np

_KEPT_EPOCHS = 2


class Order:
    """Row n of a run over `size` rows is perm(seed, n // size)[n % size].

    perm(seed, epoch) = jax.random.permutation(fold_in(key(seed), epoch), size), with threefry keys. So
    batches run across epoch borders, nothing is dropped, and a set may be smaller than a batch.
    """

    def __init__(self, seed: int, size: int):
        if size < 1:
            raise ValueError("an order needs at least one row")
        self.seed, self.size = seed, size
        self._epochs: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def rows(self, start: int, count: int) -> np.ndarray:
        """Rows start to start + count - 1 of the run: int64 [count], each in [0, size)."""
        stop = start + count
        pieces = [np.empty(0, np.int64)]
        for epoch in range(start // self.size, -(-stop // self.size)):
            first = epoch * self.size
            pieces.append(self._permutation(epoch)[max(start - first, 0) : stop - first])
        return np.concatenate(pieces)

    def step_rows(self, step: int, batch: int, turns: int = 1) -> np.ndarray:
        """The turns * batch rows of one step: int64 [batch], or [turns, batch] if turns > 1."""
        rows = self.rows(step * turns * batch, turns * batch)
        return rows if turns == 1 else rows.reshape(turns, batch)

    def _permutation(self, epoch: int) -> np.ndarray:
        with self._lock:
            if epoch not in self._epochs:
                self._epochs[epoch] = _permutation(self.seed, epoch, self.size)
                while len(self._epochs) > _KEPT_EPOCHS:
                    del self._epochs[next(iter(self._epochs))]
            return self._epochs[epoch]


def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    # On the host, so that a run's accelerators are left to its steps. The numbers are the same anywhere.
    with on_host():
        key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), epoch)
        return np.asarray(jax.random.permutation(key, size)).astype(np.int64)


def on_host() -> contextlib.AbstractContextManager:
    """What is computed meanwhile is computed on the CPU, where JAX has it as a device."""
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX_PLATFORMS leaves out the CPU
        return contextlib.nullcontext()
