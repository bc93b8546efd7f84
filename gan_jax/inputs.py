"""What a generator is called with where it is not noise alone: functions of one row of the batch and a key.

`GAN(inputs=...)` takes such a function, of your own or one of these; `GAN` maps it over the batch.
"""

import jax
import jax.numpy as jnp

from .latents import Latent
from .types import Example, Images, Inputs, Key


def image() -> Inputs:
    """Gives the generator the real sample itself, `[*S]` in [-1, 1]: for autoencoders and tokenizers."""
    return lambda example, key: example["image"]


def downsampled(factor: int = 2) -> Inputs:
    """Gives the generator the real sample at a lower resolution: for super-resolution.

    Every axis but the channels is averaged over blocks of `factor`: images `[H, W, C]` become
    `[H / factor, W / factor, C]`, waves `[T, C]` become `[T / factor, C]`.

    Raises:
        ValueError: `factor` is below 1. When it is called: it does not divide an axis.
    """
    if factor < 1:
        raise ValueError(f"downsampled: factor must be at least 1, got {factor}")

    def average(example: Example, key: Key) -> Images:
        x = example["image"]
        for axis, size in enumerate(x.shape[:-1]):
            if size % factor:
                raise ValueError(f"downsampled: {factor} does not divide samples of the shape {x.shape}")
            x = jnp.mean(x.reshape(*x.shape[:axis], size // factor, factor, *x.shape[axis + 1 :]), axis=axis + 1)
        return x

    return average


def with_noise(inputs: Inputs, latent: Latent) -> Inputs:
    """Gives the generator a pair: what `inputs` makes, and latents.

    `inputs` gets `fold_in(key, 0)`, `latent` gets `fold_in(key, 1)`.
    """

    def pair(example: Example, key: Key) -> tuple:
        first, second = (jax.random.fold_in(key, i) for i in range(2))
        return inputs(example, first), latent(second)

    return pair
