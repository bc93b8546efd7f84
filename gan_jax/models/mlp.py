"""Fully connected networks for samples of any shape, vectors too: the GAN of the first paper.

Goodfellow et al., "Generative Adversarial Nets", 2014; with leaky rectifiers in both players.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ..types import Images, Labels
from .layers import Dense, SpectralNormed, check_counts, embed_label


class Generator(SpectralNormed):
    """Latents `[B, Z]` to samples `[B, *shape]`.

    Attributes:
        shape: shape of one sample.
        width: units of each hidden layer.
        layers: hidden layers.
        tanh: end in tanh, for images in [-1, 1]; without it samples are unbounded.
        classes: number of labels it is conditioned on, or None.
        spectral: spectral normalisation of every layer.
        dtype: what it computes in.
    """

    shape: tuple[int, ...]
    width: int = 256
    layers: int = 2
    tanh: bool = True
    classes: int | None = None
    spectral: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latents: jax.Array, label: Labels | None = None) -> Images:
        check_counts(width=self.width)
        x = latents
        embedded = embed_label(label, self.classes, latents.shape[-1], "embed")
        if embedded is not None:
            x = jnp.concatenate([x, embedded], axis=-1)
        for i in range(self.layers):
            x = Dense(self.width, spectral=self.spectral, dtype=self.dtype, name=f"dense_{i}")(x)
            x = nn.leaky_relu(x, 0.2)
        x = Dense(math.prod(self.shape), spectral=self.spectral, dtype=self.dtype, name="out")(x)
        x = x.reshape(-1, *self.shape).astype(jnp.float32)
        return jnp.tanh(x) if self.tanh else x


class Discriminator(SpectralNormed):
    """Samples `[B, *S]` to logits `[B]`.

    With `classes`, the label enters as in `dcgan`: by projection (Miyato and Koyama, 2018).

    Attributes:
        width, layers, classes, spectral, dtype: as in `Generator`.
    """

    width: int = 256
    layers: int = 2
    classes: int | None = None
    spectral: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Images, label: Labels | None = None) -> jax.Array:
        check_counts(width=self.width)
        x = image.reshape(image.shape[0], -1)
        for i in range(self.layers):
            x = Dense(self.width, spectral=self.spectral, dtype=self.dtype, name=f"dense_{i}")(x)
            x = nn.leaky_relu(x, 0.2)
        logits = Dense(1, spectral=self.spectral, dtype=self.dtype, name="out")(x)[:, 0].astype(jnp.float32)
        embedded = embed_label(label, self.classes, self.width, "embed")
        if embedded is not None:
            logits = logits + jnp.sum(embedded * x, axis=-1) / math.sqrt(self.width)
        return logits
