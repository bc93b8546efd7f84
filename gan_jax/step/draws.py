"""Every random draw of a step: a function of the run's key, the step, a purpose and the sample's global index.

So no draw depends on the devices, hosts or microbatches that a batch is split over.
"""

from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..gan import GAN, make_inputs
from ..types import AxisName, Batch, Key, Labels, Latents


class Purpose(IntEnum):
    LATENT = 0
    LABEL = 1
    REAL = 2  # the augmentation of the real images, and the discriminator's noise on them
    FAKE = 3
    GENERATOR = 4
    PENALTY = 5


class Draws(NamedTuple):
    """The random draws of one update. Every leaf has a leading [B].

    Attributes:
        latents: as `GAN.latent` returns them, or `GAN.inputs`.
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


def global_index(size: int, axis_name: AxisName | None) -> jax.Array:
    """Returns the global indices of this device's samples, `[size]`."""
    offset = 0 if axis_name is None else lax.axis_index(axis_name) * size
    return offset + jnp.arange(size)


def global_batch(size: int, axis_name: AxisName | None) -> int:
    """Returns the number of samples in the global batch, if this device has `size` of them."""
    return size if axis_name is None else size * lax.axis_size(axis_name)


def sample_keys(key: Key, step: jax.Array, purpose: int, index: jax.Array) -> Key:
    """Returns `[B]` keys: `fold_in(fold_in(fold_in(key, step), purpose), index)`."""
    return _fold_in_each(jax.random.fold_in(jax.random.fold_in(key, step), purpose), index)


def _fold_in_each(key: Key, numbers: jax.Array) -> Key:
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)


def draw(gan: GAN, key: Key, step: jax.Array, update: int, rows: Batch, index: jax.Array) -> Draws:
    """Returns the draws of one update of a step. Each update has purposes of its own, and so keys of its own.

    Args:
        gan: draws latents, and labels if it has `fake_labels`.
        key: the run's key.
        step: number of the step.
        update: number of the update within the step.
        rows: of the batch. Generated samples get their labels if the GAN has no `fake_labels`.
        index: global indices of the samples, `[B]`.
    """
    # One operation makes the keys of all purposes. On a GPU, each operation is a kernel to start.
    of_step, purposes = jax.random.fold_in(key, step), jnp.arange(len(Purpose)) + len(Purpose) * update
    bases = _fold_in_each(of_step, purposes)

    def keys(purpose: Purpose) -> Key:
        return _fold_in_each(bases[purpose], index)

    return Draws(
        latents=make_inputs(gan, rows, keys(Purpose.LATENT)),
        label=rows.get("label") if gan.fake_labels is None else jax.vmap(gan.fake_labels)(keys(Purpose.LABEL)),
        real=keys(Purpose.REAL),
        fake=keys(Purpose.FAKE),
        generator=keys(Purpose.GENERATOR),
        penalty=keys(Purpose.PENALTY),
    )
