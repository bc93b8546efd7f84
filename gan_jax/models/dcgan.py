"""DCGAN: the generator grows a small map by transposed convolutions, the discriminator shrinks by strided ones.

Radford et al., "Unsupervised representation learning with deep convolutional generative adversarial networks",
2015. Layers and initial values are those of PyTorch's example: 4 x 4 kernels, N(0, 0.02) weights, no biases, no
norm on the discriminator's first layer. With 64 pixels, 100 latents and width 64, the generator has 3,576,704
parameters and the discriminator 2,765,568, as there.
"""

import functools
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from ..ops import leaky_relu, relu, widen
from ..types import Images, Key, Labels
from .layers import (
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Norm,
    Remat,
    RunningVariance,
    SpectralNormed,
    SpectralVectors,
    blocks_in_order,
    check_counts,
    doublings,
    embed_label,
    image_size,
    recomputable,
    recomputed,
)

_WEIGHTS = nn.initializers.normal(0.02)


def _near_one(key: Key, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Draws from N(1, 0.02)."""
    return 1.0 + 0.02 * jax.random.normal(key, shape, dtype)


class _Normed(nn.Module):
    """Batch norm if `norm` is "batch", otherwise the identity (spectral norm is part of the convolution)."""

    norm: Norm
    dtype: DTypeLike
    running_variance: RunningVariance

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, axis_name: str | None) -> jax.Array:
        if self.norm != "batch":
            return x
        norm = BatchNorm(self.dtype, _near_one, running_variance=self.running_variance, name="batch")
        return norm(x, train=train, axis_name=axis_name)


class Generator(SpectralNormed):
    """Maps latents `[B, Z]` to images `[B, H, W, C]` in [-1, 1].

    Attributes:
        shape: shape of one image, `(H, W, C)`.
        width: channels of the last hidden map; each earlier map has twice as many as the next.
        base: smaller side of the first map; None: the largest up to 7 that gives that of the image by doubling.
        norm: "batch", "spectral" or "none".
        classes: number of labels, whose embedding is appended to the latents; None: unconditional.
        dtype: the type that it computes in; images are float32.
        remat: "none", "blocks" or "all": what its derivatives recompute; see `layers.Remat`.
        spectral_vectors: "u" or "uv": what spectral norm keeps; see `layers.SpectralVectors`.
        running_variance: "biased" or "unbiased"; see `layers.BatchNorm`.
    """

    shape: tuple[int, ...]
    width: int = 64
    base: int | None = None
    norm: Norm = "batch"
    classes: int | None = None
    dtype: DTypeLike = jnp.float32
    spectral_vectors: SpectralVectors = "u"
    running_variance: RunningVariance = "biased"
    remat: Remat = "none"

    @nn.compact
    @recomputable
    def __call__(
        self, latents: jax.Array, label: Labels | None = None, *, train: bool, axis_name: str | None = None
    ) -> Images:
        check_counts(width=self.width)
        (height, width), times = doublings(image_size(self.shape), self.base)
        common = {
            "use_bias": self.norm != "batch",
            "spectral": self.norm == "spectral" and self.spectral_vectors,
            "kernel_init": _WEIGHTS,
            "dtype": self.dtype,
        }
        normed = functools.partial(_Normed, self.norm, self.dtype, self.running_variance)
        x = latents
        embedded = embed_label(label, self.classes, latents.shape[-1], "embed")
        if embedded is not None:
            x = jnp.concatenate([x, embedded], axis=-1)
        features = self.width * 2 ** (times - 1)
        # On a 1 x 1 map a transposed convolution is a matrix product.
        x = Dense(height * width * features, **{**common, "use_bias": False}, name="project")(x)
        x = x.reshape(-1, height, width, features)
        x = relu(normed(name="norm_0")(x, train, axis_name))
        for i in range(1, times):
            features //= 2

            def block(_: nn.Module, x: jax.Array, i: int = i, features: int = features) -> jax.Array:
                x = ConvTranspose(features, **common, name=f"up_{i}")(x)
                return relu(normed(name=f"norm_{i}")(x, train, axis_name))

            x = recomputed(block, self.remat != "none")(self, x)
        last = {**common, "use_bias": False, "spectral": False}
        x = ConvTranspose(self.shape[-1], **last, name="image")(x)
        return jnp.tanh(widen(x))


class Discriminator(SpectralNormed):
    """Maps images `[B, H, W, C]` to logits `[B]`.

    With `classes`, the inner product of the label's vector and the last map's channel means is added to the logit.
    Miyato and Koyama, "cGANs with projection discriminator", 2018.

    Attributes:
        width: channels of the first map; each later map has twice as many as the one before.
        base, norm, classes, dtype, remat, spectral_vectors, running_variance: as in `Generator`.
    """

    width: int = 64
    base: int | None = None
    norm: Norm = "batch"
    classes: int | None = None
    dtype: DTypeLike = jnp.float32
    spectral_vectors: SpectralVectors = "u"
    running_variance: RunningVariance = "biased"
    remat: Remat = "none"

    @nn.nowrap
    def image_blocks(self, names: Iterable[str]) -> list[list[str]]:
        """Returns the names of each block's parameters, the block nearest to the image first."""
        return blocks_in_order(names, r"(?:down|norm)_(\d+)")

    @nn.compact
    @recomputable
    def __call__(
        self, image: Images, label: Labels | None = None, *, train: bool, axis_name: str | None = None
    ) -> jax.Array:
        check_counts(width=self.width)
        _, times = doublings(image_size(image.shape[1:]), self.base)
        common = {
            "spectral": self.norm == "spectral" and self.spectral_vectors,
            "kernel_init": _WEIGHTS,
            "dtype": self.dtype,
        }
        normed = functools.partial(_Normed, self.norm, self.dtype, self.running_variance)
        x, features = image, self.width
        for i in range(times):

            def block(_: nn.Module, x: jax.Array, i: int = i, features: int = features) -> jax.Array:
                bias = self.norm != "batch"
                x = Conv(features, size=4, stride=2, padding=1, use_bias=bias, **common, name=f"down_{i}")(x)
                if i > 0:
                    x = normed(name=f"norm_{i}")(x, train, axis_name)
                return leaky_relu(x, 0.2)

            x = recomputed(block, self.remat != "none")(self, x)
            features *= 2
        embedded = embed_label(label, self.classes, x.shape[-1], "embed")
        flat = x.reshape(x.shape[0], -1)
        logits = widen(Dense(1, use_bias=self.norm != "batch", **common, name="logit")(flat)[:, 0])
        if embedded is not None:
            means = jnp.mean(widen(x), axis=(1, 2))
            logits = logits + jnp.sum(embedded * means, axis=-1)
        return logits
