"""Fully connected networks for samples of any shape, also vectors, as in the first paper on GANs.

Goodfellow et al., "Generative Adversarial Nets", 2014; here both networks have leaky ReLUs.
"""

import math
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from ..ops import leaky_relu, widen
from ..types import Images, Labels
from .layers import (
    Dense,
    Remat,
    SpectralNormed,
    blocks_in_order,
    check_counts,
    embed_label,
    recomputable,
    recomputed,
)


class Generator(SpectralNormed):
    """Maps latents `[B, Z]` to samples `[B, *shape]`; latents of more axes, such as images, are flattened.

    Attributes:
        shape: shape of one sample.
        width: units of each hidden layer.
        layers: number of hidden layers.
        tanh: ends in tanh, for images in [-1, 1]; without it, samples are unbounded.
        classes: number of labels; None: unconditional.
        spectral: gives every layer spectral norm.
        dtype: the type that it computes in; samples are float32.
        remat: as in the other models; here a block is a hidden layer. See `layers.Remat`.
    """

    shape: tuple[int, ...]
    width: int = 256
    layers: int = 2
    tanh: bool = True
    classes: int | None = None
    spectral: bool = False
    dtype: DTypeLike = jnp.float32
    remat: Remat = "none"

    @nn.compact
    @recomputable
    def __call__(self, latents: jax.Array, label: Labels | None = None) -> Images:
        check_counts(width=self.width)
        x = latents.reshape(latents.shape[0], -1)
        embedded = embed_label(label, self.classes, x.shape[-1], "embed")
        if embedded is not None:
            x = jnp.concatenate([x, embedded], axis=-1)
        for i in range(self.layers):

            def block(_: nn.Module, x: jax.Array, i: int = i) -> jax.Array:
                x = Dense(self.width, spectral=self.spectral, dtype=self.dtype, name=f"dense_{i}")(x)
                return leaky_relu(x, 0.2)

            x = recomputed(block, self.remat != "none")(self, x)
        x = Dense(math.prod(self.shape), spectral=self.spectral, dtype=self.dtype, name="out")(x)
        x = widen(x.reshape(-1, *self.shape))
        return jnp.tanh(x) if self.tanh else x


class Discriminator(SpectralNormed):
    """Maps samples `[B, *S]` to logits `[B]`.

    With `classes`, the label enters by projection, as in `dcgan` (Miyato and Koyama, 2018).

    Attributes:
        width, layers, classes, spectral, dtype, remat: as in `Generator`.
    """

    width: int = 256
    layers: int = 2
    classes: int | None = None
    spectral: bool = False
    dtype: DTypeLike = jnp.float32
    remat: Remat = "none"

    @nn.nowrap
    def image_blocks(self, names: Iterable[str]) -> list[list[str]]:
        """Returns the names of each block's parameters, the block nearest to the image first."""
        return blocks_in_order(names, r"dense_(\d+)")

    @nn.compact
    @recomputable
    def __call__(self, image: Images, label: Labels | None = None) -> jax.Array:
        check_counts(width=self.width)
        x = image.reshape(image.shape[0], -1)
        for i in range(self.layers):

            def block(_: nn.Module, x: jax.Array, i: int = i) -> jax.Array:
                x = Dense(self.width, spectral=self.spectral, dtype=self.dtype, name=f"dense_{i}")(x)
                return leaky_relu(x, 0.2)

            x = recomputed(block, self.remat != "none")(self, x)
        logits = widen(Dense(1, spectral=self.spectral, dtype=self.dtype, name="out")(x)[:, 0])
        embedded = embed_label(label, self.classes, self.width, "embed")
        if embedded is not None:
            logits = logits + jnp.sum(embedded * x, axis=-1) / math.sqrt(self.width)
        return logits
