"""Parts of a training step, recomputed by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import small_gan
from gan_jax.step.draws import Purpose

LR_G, LR_D = 0.2, 0.3  # of small_gan.make


def close(one, other, rtol=1e-5, atol=1e-6):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), one, other)


def latents_by_hand(key, step, turn, batch_size):
    """`fold_in(fold_in(fold_in(key, step), purpose), index)`, sample by sample."""
    purpose = Purpose.LATENT + len(Purpose) * turn  # turns have purposes of their own
    base = jax.random.fold_in(jax.random.fold_in(key, step), purpose)
    return jnp.stack(
        [jax.random.normal(jax.random.fold_in(base, i), (small_gan.LATENT,)) for i in range(batch_size)]
    )
