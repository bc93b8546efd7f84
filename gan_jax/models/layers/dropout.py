"""Dropout whose masks belong to single samples."""

import hashlib

import jax
import jax.numpy as jnp
from flax import linen as nn

from ...types import Key


class Dropout(nn.Module):
    """Sets each value to 0 with probability `rate`, and divides the others by `1 - rate`.

    The mask of sample i is drawn from `keys[i]`, the layer's path in the network and the number of the call, so it
    does not depend on how the batch is split, and no two layers (or two calls of one layer) have the same. Inside
    `nn.scan` and `nn.vmap` all copies of the layer have one path and so one mask: take `nn.Dropout` there.
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, keys: Key | None, train: bool) -> jax.Array:
        """Returns `x` with dropout if `train`, else `x`.

        Args:
            x: `[B, ...]`.
            keys: `[B]` keys; a network gets them by the keyword `keys`.
            train: whether values are dropped.

        Raises:
            ValueError: `rate` is not in [0, 1], or `x` does not have one row for each key.
        """
        if not 0 <= self.rate <= 1:
            raise ValueError(f"dropout: rate must be from 0 to 1, got {self.rate}")
        if not train or self.rate == 0:
            return x
        if keys is None or x.shape[:1] != keys.shape:
            shape = None if keys is None else keys.shape
            raise ValueError(f"dropout needs a key for each of {x.shape[:1]} samples, got keys of shape {shape}")
        if self.rate == 1:
            return jnp.zeros_like(x)
        place = "/".join((*self.path, str(self._calls()))).encode()
        number = int.from_bytes(hashlib.sha256(place).digest()[:4], "big")  # the same in every process

        def mask(key: Key) -> jax.Array:
            return jax.random.bernoulli(jax.random.fold_in(key, number), 1 - self.rate, x.shape[1:])

        return jnp.where(jax.vmap(mask)(keys), x / (1 - self.rate), jnp.zeros_like(x))

    @nn.nowrap
    def _calls(self) -> int:
        """Counts the calls of this layer within one pass of the network."""
        assert self.scope is not None
        counters = self.scope.rng_counters
        counters["samples"] = counters.get("samples", 0) + 1
        return counters["samples"]
