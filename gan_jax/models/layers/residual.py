"""Layers of the SNGAN family: conditional batch norm, generator and discriminator blocks.

`sngan`, `sagan` and `biggan` stack different numbers of these blocks. Weights start orthogonal, biases at zero.
Every parameter is float32; `dtype` is the type that a block computes in. Module `spectral` explains `spectral` and
`spectral_vectors`, `BatchNorm` explains `running_variance`.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from ...ops import downsample, in_float32, relu, upsample, widen
from ...types import Images, Labels
from .attention import SelfAttention, conv1x1
from .base import BatchNorm, Conv, Dense, Embed, RunningVariance, check_label
from .remat import Remat, recomputable
from .sizes import Factor, Size
from .spectral import Spectral, SpectralVectors

Skip = Literal["rectified", "plain"]

EPSILON = 1e-4  # of batch norm in this family

_ORTHOGONAL = nn.initializers.orthogonal()
_BOX = (1.0, 1.0)  # with these taps `upsample` repeats pixels and `downsample` averages them


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias are linear in a condition c: `(1 + W_g c) x_hat + W_b c`.

    W_g and W_b have no bias and start orthogonal, not at zero. Without a condition it is plain batch norm.
    Dumoulin et al., "A learned representation for artistic style", 2017; Miyato and Koyama, 2018, where c is the
    one-hot label.
    """

    spectral: Spectral = False
    dtype: DTypeLike = jnp.float32
    running_variance: RunningVariance = "biased"
    epsilon: float = EPSILON

    @nn.compact
    def __call__(
        self, x: jax.Array, condition: jax.Array | None, *, train: bool, axis_name: str | None
    ) -> jax.Array:
        norm = BatchNorm(
            self.dtype, epsilon=self.epsilon, affine=condition is None,
            running_variance=self.running_variance, name="batch",
        )  # fmt: skip
        x = norm(x, train=train, axis_name=axis_name)
        if condition is None:
            return x
        linear = functools.partial(
            Dense, x.shape[-1], use_bias=False, spectral=self.spectral, kernel_init=_ORTHOGONAL, dtype=self.dtype
        )
        gain, bias = 1.0 + linear(name="gain")(condition), linear(name="bias")(condition)  # [B, C]
        axes = tuple(range(1, x.ndim - 1))
        return _affine(x, jnp.expand_dims(gain, axes), jnp.expand_dims(bias, axes))


class GeneratorBlock(nn.Module):
    """Residual block: maps `[B, H, W, I]` to `[B, 2H, 2W, features]`; likewise audio, video and volumes.

    The branch is norm, ReLU, nearest-neighbour upsampling by `factor`, 3 x 3, norm, ReLU, 3 x 3; the skip
    connection is upsampling and 1 x 1. Repeating pixels commutes with 1 x 1, so 1 x 1 comes first, at a quarter of
    the cost.
    """

    features: int
    spectral: Spectral = False
    dtype: DTypeLike = jnp.float32
    running_variance: RunningVariance = "biased"
    remat: bool = False
    factor: Factor = 2
    epsilon: float = EPSILON

    @nn.compact
    @recomputable
    def __call__(
        self, x: jax.Array, condition: jax.Array | None, *, train: bool, axis_name: str | None
    ) -> jax.Array:
        conv3x3 = functools.partial(_conv3x3, self.features, spectral=self.spectral, dtype=self.dtype)

        def norm(h: jax.Array, name: str) -> jax.Array:
            layer = ConditionalBatchNorm(self.spectral, self.dtype, self.running_variance, self.epsilon, name=name)
            return relu(layer(h, condition, train=train, axis_name=axis_name))

        h = conv3x3(name="conv_0")(upsample(norm(x, "norm_0"), _BOX, self.factor))
        h = conv3x3(name="conv_1")(norm(h, "norm_1"))
        skip = conv1x1(self.features, spectral=self.spectral, dtype=self.dtype, name="skip")(x)
        return h + upsample(skip, _BOX, self.factor)


class DiscriminatorBlock(nn.Module):
    """Residual block with spectral norm: maps `[B, H, W, I]` to `[B, H, W, features]`, or half of H and W.

    It maps audio, video and volumes likewise. The branch h is ReLU, 3 x 3, ReLU, 3 x 3, and average pooling by
    `factor` if `halve`. The skip connection s is 1 x 1 and
    pooling, or the identity where the shape stays the same. Pooling commutes with 1 x 1, so it comes first. The
    `first` block of a network starts without a ReLU.

    `skip="rectified"` is `h(relu(x)) + s(relu(x))`, which code with an in-place ReLU computes; the published
    scores are from such code. `"plain"` is the papers' `h(relu(x)) + s(x)`. The first block has `s(x)` in both.
    """

    features: int
    halve: bool
    first: bool = False
    skip: Skip = "rectified"
    dtype: DTypeLike = jnp.float32
    spectral_vectors: SpectralVectors = "u"
    remat: bool = False
    factor: Factor = 2

    @nn.compact
    @recomputable
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.skip not in ("rectified", "plain"):
            raise ValueError(f"skip must be rectified or plain, got {self.skip!r}")
        conv3x3 = functools.partial(_conv3x3, self.features, spectral=self.spectral_vectors, dtype=self.dtype)
        rectified = x if self.first else relu(x)
        h = conv3x3(name="conv_1")(relu(conv3x3(name="conv_0")(rectified)))
        skip = rectified if self.skip == "rectified" else x
        if self.halve:
            h, skip = downsample(h, _BOX, self.factor), downsample(skip, _BOX, self.factor)
        if self.halve or x.shape[-1] != self.features:
            skip = conv1x1(self.features, spectral=self.spectral_vectors, dtype=self.dtype, name="skip")(skip)
        return h + skip


def blocks_to_image(
    x: jax.Array,
    conditions: Sequence[jax.Array | None],
    widths: Sequence[int],
    channels: int,
    *,
    factors: Sequence[Factor] | None = None,
    attention: Sequence[int] = (),
    spectral: Spectral = False,
    running_variance: RunningVariance = "biased",
    epsilon: float = EPSILON,
    dtype: DTypeLike = jnp.float32,
    remat: Remat = "none",
    train: bool,
    axis_name: str | None,
) -> Images:
    """Maps the generator's first map to images: blocks, norm, ReLU, 3 x 3, tanh. Call it in a compact module.

    Args:
        x: the first map, `[B, *s, C]`.
        conditions: the condition of each block, `[B, K]` or None.
        widths: the output channels of each block.
        channels: the channels of the image.
        factors: of the upsampling of each block; None: 2.
        attention: the blocks that self-attention follows, counted from 1.
        epsilon: of batch norm.
        remat: of the network; the blocks are recomputed unless it is "none".

    Raises:
        ValueError: `attention` names a block that does not exist.
    """
    _check_attention(attention, len(widths))
    inside = remat != "none"
    for i, (width, condition) in enumerate(zip(widths, conditions, strict=True), 1):
        factor = 2 if factors is None else factors[i - 1]
        block = GeneratorBlock(
            width, spectral, dtype, running_variance, inside, factor, epsilon, name=f"block_{i}"
        )
        x = block(x, condition, train=train, axis_name=axis_name)
        if i in attention:
            x = SelfAttention(spectral, dtype, inside, name=f"attention_{i}")(x)
    norm = BatchNorm(dtype, epsilon=epsilon, running_variance=running_variance, name="norm")
    x = norm(x, train=train, axis_name=axis_name)
    x = _conv3x3(channels, spectral=spectral, dtype=dtype, name="image")(relu(x))
    return jnp.tanh(widen(x))


def image_to_logits(
    x: Images,
    label: Labels | None,
    classes: int | None,
    widths: Sequence[int],
    halvings: int | Sequence[Factor],
    *,
    attention: Sequence[int] = (),
    skip: Skip = "rectified",
    spectral_vectors: SpectralVectors = "u",
    dtype: DTypeLike = jnp.float32,
    remat: Remat = "none",
) -> jax.Array:
    """The whole discriminator: blocks, ReLU, sum over the map, logits `[B]`. Call it in a compact module.

    With labels the logit is `w . f + b + e_y . f`, where e_y is the label's row of a table with spectral norm.
    Both products are float32. Miyato and Koyama, "cGANs with projection discriminator", 2018, equation 4.

    Args:
        halvings: the number of first blocks that halve the map, or the factor of each of them.

    Raises:
        ValueError: `attention` names a block that does not exist, or a network with classes gets no labels.
    """
    factors = (2,) * halvings if isinstance(halvings, int) else halvings
    label = check_label(label, classes)
    _check_attention(attention, len(widths))
    inside = remat != "none"
    for i, width in enumerate(widths, 1):
        halve = i <= len(factors)
        block = DiscriminatorBlock(
            width, halve, i == 1, skip, dtype, spectral_vectors, inside, factors[i - 1] if halve else 2,
            name=f"block_{i}",
        )  # fmt: skip
        x = block(x)
        if i in attention:
            x = SelfAttention(spectral_vectors, dtype, inside, name=f"attention_{i}")(x)
    features = jnp.sum(widen(relu(x)), axis=tuple(range(1, x.ndim - 1)))  # [B, C]
    normed = {"spectral": spectral_vectors, "kernel_init": _ORTHOGONAL, "dtype": features.dtype}
    logits = Dense(1, **normed, name="logit")(features)[:, 0]
    if classes is None or label is None:
        return logits
    table = Embed(features.shape[-1], **normed, classes=classes, name="embed")
    return logits + jnp.sum(table(label) * features, axis=-1)


def first_map(latents: jax.Array, size: Size, features: int, *, spectral: Spectral, dtype: DTypeLike) -> jax.Array:
    """Maps latents `[B, Z]` to the first map `[B, *size, features]`. Call it in a compact module."""
    project = Dense(
        math.prod(size) * features, spectral=spectral, kernel_init=_ORTHOGONAL, dtype=dtype, name="project"
    )
    return project(latents).reshape(-1, *size, features)


def one_hot(label: Labels | None, classes: int | None, dtype: DTypeLike) -> jax.Array | None:
    """Returns one-hot labels `[B, classes]`, or None without classes; raises ValueError if labels are missing."""
    label = check_label(label, classes)
    return None if label is None or classes is None else jax.nn.one_hot(label, classes, dtype=dtype)


def label_table(label: Labels, classes: int, features: int, dtype: DTypeLike) -> jax.Array:
    """Returns a learned vector per label, `[B, features]`, without spectral norm. Call it in a compact module."""
    exact = jnp.promote_types(dtype, jnp.float32)
    return Embed(features, kernel_init=_ORTHOGONAL, classes=classes, dtype=exact, name="embed")(label)


def _check_attention(attention: Sequence[int], blocks: int) -> None:
    wrong = [block for block in attention if not 1 <= block <= blocks]
    if wrong:
        raise ValueError(f"attention names block {wrong[0]}, but the blocks are 1 to {blocks}")


def _conv3x3(features: int, **keywords: Any) -> Conv:
    return Conv(features, size=3, padding=1, kernel_init=_ORTHOGONAL, **keywords)


@in_float32
def _affine(x: jax.Array, gain: jax.Array, bias: jax.Array) -> jax.Array:
    return x * gain + bias
