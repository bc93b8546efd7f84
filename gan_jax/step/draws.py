"""Every random draw of a step, a function of the run's key, the step, a purpose and the sample's global index.

So no draw depends on how many devices, hosts or microbatches a batch is spread over.
"""

from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..gan import GAN
from ..types import Key, Labels, Latents


class Purpose(IntEnum):
    LATENT = 0
    LABEL = 1
    REAL = 2  # the augmentation of the reals, and the discriminator's own noise on them
    FAKE = 3
    GENERATOR = 4
    PENALTY = 5


class Draws(NamedTuple):
    """One turn's draws. Leaves have a leading [B].

    Attributes:
        latents: as `GAN.latent` gives them.
        label: labels of the generated samples, or None.
        real, fake: keys of the augmentation.
        generator: keys of noise inside the generator.
        penalty: keys of the penalties.
    """

    latents: Latents
    label: Labels | None
    real: Key
    fake: Key
    generator: Key
    penalty: Key


def global_index(size: int, axis_name: str | None) -> jax.Array:
    """`[size]` global indices of this device's samples."""
    offset = 0 if axis_name is None else lax.axis_index(axis_name) * size
    return offset + jnp.arange(size)


def sample_keys(key: Key, step: jax.Array, purpose: int, index: jax.Array) -> Key:
    """`[B]` keys: `fold_in(fold_in(fold_in(key, step), purpose), index)`."""
    base = jax.random.fold_in(jax.random.fold_in(key, step), purpose)
    return jax.vmap(lambda i: jax.random.fold_in(base, i))(index)


def deal(gan: GAN, key: Key, step: jax.Array, turn: int, label: Labels | None, index: jax.Array) -> Draws:
    """The draws of turn `turn` of a step; turns have purposes of their own."""

    def keys(purpose: Purpose) -> Key:
        return sample_keys(key, step, purpose + len(Purpose) * turn, index)

    return Draws(
        latents=jax.vmap(gan.latent)(keys(Purpose.LATENT)),
        label=label if gan.fake_labels is None else jax.vmap(gan.fake_labels)(keys(Purpose.LABEL)),
        real=keys(Purpose.REAL),
        fake=keys(Purpose.FAKE),
        generator=keys(Purpose.GENERATOR),
        penalty=keys(Purpose.PENALTY),
    )
