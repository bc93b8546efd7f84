"""Latent distributions: one key in, one latent out. `GAN` maps them over the samples of a batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from .types import Key


def normal(size: int = 100) -> Callable[[Key], jax.Array]:
    """`[size]` draws of N(0, 1)."""
    return lambda key: jax.random.normal(key, (size,), jnp.float32)


def uniform(size: int = 100, low: float = -1.0, high: float = 1.0) -> Callable[[Key], jax.Array]:
    """`[size]` draws of U(low, high)."""
    return lambda key: jax.random.uniform(key, (size,), jnp.float32, low, high)
