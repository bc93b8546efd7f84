"""DCGAN: the generator grows a small map by transposed convolutions, the discriminator shrinks by strided ones.

Radford et al., "Unsupervised representation learning with deep convolutional generative adversarial networks",
2015. Layers and initial values are those of PyTorch's example: 4 x 4 kernels, N(0, 0.02) weights, no biases, no
norm on the discriminator's first layer. With 64 pixels, 100 latents and width 64, the generator has 3,576,704
parameters and the discriminator 2,765,568, as there.

Audio `[T, C]` has kernels of size 4, video and volumes `[D, H, W, C]` of 4 x 4 x 4, or 3 x 4 x 4 at the stages
that do not double D (`layers.sizes` says which). A kernel of k numbers has N(0, 0.02 sqrt(16 / k)) weights, so a
sum over it varies as much as with 4 x 4.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

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
    Factor,
    Norm,
    Remat,
    RunningVariance,
    SpectralNormed,
    SpectralVectors,
    blocks_in_order,
    check_counts,
    doublings,
    embed_label,
    recomputable,
    recomputed,
    sample_size,
    stage_factors,
)

_WEIGHTS = nn.initializers.normal(0.02)
_MOST = 16  # the largest multiple of `width` for audio, which has many more stages than images


def _near_one(key: Key, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Draws from N(1, 0.02)."""
    return 1.0 + 0.02 * jax.random.normal(key, shape, dtype)


def _stage(factor: Factor, axes: int) -> dict[str, Any]:
    """Returns kernel size, stride and initial values of a stage that doubles or halves the axes by `factor`."""
    size = (4,) * axes if factor == 2 else tuple(4 if one == 2 else 3 for one in factor)
    std = 0.02 * math.sqrt(16 / math.prod(size))
    return {"size": size, "stride": factor, "padding": 1, "kernel_init": nn.initializers.normal(std)}


def _features(width: int, times: int, axes: int) -> int:
    """Returns the channels of the map that is `times` doublings from the one with `width` channels."""
    return width * (min(2**times, _MOST) if axes == 1 else 2**times)


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
    """Maps latents `[B, Z]` to samples `[B, *S, C]` in [-1, 1]: images, audio, video or volumes.

    Attributes:
        shape: shape of one sample, `(H, W, C)`, `(T, C)` or `(D, H, W, C)`.
        width: channels of the last hidden map; each earlier map has twice as many as the next, in audio at most 16
            times `width`.
        base: smaller of H and W in the first map, or its T; None: see `layers.doublings`.
        norm: "batch", "spectral" or "none".
        classes: number of labels, whose embedding is appended to the latents; None: unconditional.
        dtype: the type that it computes in; samples are float32.
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
        size = sample_size(self.shape)
        first, times = doublings(size, self.base)
        factors, axes = stage_factors(size, times), len(size)
        common = {
            "use_bias": self.norm != "batch",
            "spectral": self.norm == "spectral" and self.spectral_vectors,
            "dtype": self.dtype,
        }
        normed = functools.partial(_Normed, self.norm, self.dtype, self.running_variance)
        x = latents
        embedded = embed_label(label, self.classes, latents.shape[-1], "embed")
        if embedded is not None:
            x = jnp.concatenate([x, embedded], axis=-1)
        features = _features(self.width, times - 1, axes)
        # On a 1 x 1 map a transposed convolution is a matrix product.
        project = {**common, "use_bias": False, "kernel_init": _WEIGHTS}
        x = Dense(math.prod(first) * features, **project, name="project")(x)
        x = x.reshape(-1, *first, features)
        x = relu(normed(name="norm_0")(x, train, axis_name))
        for i in range(1, times):

            def block(_: nn.Module, x: jax.Array, i: int = i) -> jax.Array:
                features = _features(self.width, times - 1 - i, axes)
                x = ConvTranspose(features, **common, **_stage(factors[i - 1], axes), name=f"up_{i}")(x)
                return relu(normed(name=f"norm_{i}")(x, train, axis_name))

            x = recomputed(block, self.remat != "none")(self, x)
        last = {**common, **_stage(factors[-1], axes), "use_bias": False, "spectral": False}
        x = ConvTranspose(self.shape[-1], **last, name="image")(x)
        return jnp.tanh(widen(x))


class Discriminator(SpectralNormed):
    """Maps samples `[B, *S, C]`, as the generator makes them, to logits `[B]`.

    With `classes`, the inner product of the label's vector and the last map's channel means is added to the logit.
    Miyato and Koyama, "cGANs with projection discriminator", 2018.

    Attributes:
        width: channels of the first map; each later map has twice as many as the one before, in audio at most 16
            times `width`.
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
        size = sample_size(image.shape[1:])
        factors, axes = stage_factors(size, doublings(size, self.base)[1])[::-1], len(size)
        common = {"spectral": self.norm == "spectral" and self.spectral_vectors, "dtype": self.dtype}
        normed = functools.partial(_Normed, self.norm, self.dtype, self.running_variance)
        x = image
        for i, factor in enumerate(factors):

            def block(_: nn.Module, x: jax.Array, i: int = i, factor: Factor = factor) -> jax.Array:
                layer = {**common, **_stage(factor, axes), "use_bias": self.norm != "batch"}
                x = Conv(_features(self.width, i, axes), **layer, name=f"down_{i}")(x)
                if i > 0:
                    x = normed(name=f"norm_{i}")(x, train, axis_name)
                return leaky_relu(x, 0.2)

            x = recomputed(block, self.remat != "none")(self, x)
        embedded = embed_label(label, self.classes, x.shape[-1], "embed")
        flat = x.reshape(x.shape[0], -1)
        dense = Dense(1, use_bias=self.norm != "batch", **common, kernel_init=_WEIGHTS, name="logit")
        logits = widen(dense(flat)[:, 0])
        if embedded is not None:
            means = jnp.mean(widen(x), axis=tuple(range(1, x.ndim - 1)))
            logits = logits + jnp.sum(embedded * means, axis=-1)
        return logits
