"""Latent distributions: one key in, one latent out. `GAN` maps them over the samples of a batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from .types import Key


def _check(size: int) -> None:
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")


def normal(size: int = 100) -> Callable[[Key], jax.Array]:
    """`[size]` draws of N(0, 1)."""
    _check(size)
    return lambda key: jax.random.normal(key, (size,), jnp.float32)


def uniform(size: int = 100, low: float = -1.0, high: float = 1.0) -> Callable[[Key], jax.Array]:
    """`[size]` draws of U(low, high)."""
    _check(size)
    return lambda key: jax.random.uniform(key, (size,), jnp.float32, low, high)
