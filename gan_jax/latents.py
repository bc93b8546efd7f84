"""Distributions of the latents `z`. `GAN` maps the function over the keys of a batch."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from .types import Key, Latents

__all__ = ["normal", "uniform"]  # what a config may name


@runtime_checkable
class Latent(Protocol):
    """Draws the latents of one sample."""

    def __call__(self, key: Key, /) -> Latents:
        """Returns the latents that one `key` gives, without a batch axis; it is called under `jax.vmap`."""
        ...


def missing(key: Key) -> Latents:
    """The latent of a GAN that has `inputs` in its place.

    Raises:
        ValueError: always.
    """
    raise ValueError("this GAN has inputs from rows of the batch in place of latents: call gan.inputs(row, key)")


def _check(size: int) -> None:
    if not isinstance(size, int):
        raise ValueError("size must be an integer: a GAN takes latents.normal(100), not latents.normal")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")


def normal(size: int = 100) -> Latent:
    """Draws `[size]` numbers from N(0, 1)."""
    _check(size)
    return lambda key: jax.random.normal(key, (size,), jnp.float32)


def uniform(size: int = 100, low: float = -1.0, high: float = 1.0) -> Latent:
    """Draws `[size]` numbers from U(low, high)."""
    _check(size)
    return lambda key: jax.random.uniform(key, (size,), jnp.float32, low, high)
