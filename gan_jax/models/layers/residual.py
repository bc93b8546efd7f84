"""Residual blocks of the SNGAN family: conditional batch norm, self-attention, a block up and a block down.

`sngan`, `sagan` and `biggan` are these blocks in different numbers. Weights start orthogonal, biases at zero.
Every parameter is float32; `dtype` is what a block computes in.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from ...ops import downsample, upsample
from ...types import Images, Labels
from .base import BatchNorm, Conv, Dense, Embed, check_label

Skip = Literal["rectified", "plain"]

EPSILON = 1e-4  # batch norm's, in this family

_ORTHOGONAL = nn.initializers.orthogonal()
_BOX = (1.0, 1.0)  # taps with which `upsample` repeats pixels and `downsample` averages them


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias are linear in a condition c: `(1 + W_g c) x_hat + W_b c`.

    W_g and W_b have no bias and start orthogonal, not at zero. Without a condition it is plain batch norm.
    Dumoulin et al., "A learned representation for artistic style", 2017; Miyato and Koyama, 2018, whose c is
    the label, one-hot.
    """

    spectral: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, condition: jax.Array | None, *, train: bool, axis_name: str | None
    ) -> jax.Array:
        norm = BatchNorm(self.dtype, epsilon=EPSILON, affine=condition is None, name="batch")
        x = norm(x, train=train, axis_name=axis_name)
        if condition is None:
            return x
        linear = functools.partial(
            Dense, x.shape[-1], use_bias=False, spectral=self.spectral, kernel_init=_ORTHOGONAL, dtype=self.dtype
        )
        gain, bias = 1.0 + linear(name="gain")(condition), linear(name="bias")(condition)  # [B, C]
        return x * gain[:, None, None, :] + bias[:, None, None, :]


class SelfAttention(nn.Module):
    """`x + gamma W_o softmax(q k^T) v` over the pixels of a map `[B, H, W, C]`; gamma starts at 0.

    Queries and keys have C/8 channels, values C/2; keys and values are max-pooled to a quarter of the pixels,
    there is no 1/sqrt(d), and the 1 x 1 convolutions have no biases. Scores and softmax are float32.

    Zhang et al., "Self-attention generative adversarial networks", 2018, equations 1 to 3, which pool nothing
    and have C/8 channels throughout; pooling and C/2 are those of its authors' and BigGAN's code.
    """

    spectral: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        n, height, width, channels = x.shape
        if height % 2 or width % 2:
            raise ValueError(
                f"self-attention pools its map by 2, and {height} x {width} is odd: put it behind another block "
                "(attention=(...)), or leave it out (attention=())"
            )
        small, half = max(1, channels // 8), max(1, channels // 2)
        point = functools.partial(_point, spectral=self.spectral, use_bias=False, dtype=self.dtype)
        query = point(small, name="query")(x).reshape(n, -1, small)
        key = _max_pool(point(small, name="key")(x)).reshape(n, -1, small)
        value = _max_pool(point(half, name="value")(x)).reshape(n, -1, half)
        wide = jnp.promote_types(self.dtype, jnp.float32)  # in 16 bits a large score is off by whole units
        scores = jnp.einsum("nqc,nkc->nqk", query, key, preferred_element_type=wide)
        weights = jax.nn.softmax(scores, axis=-1).astype(self.dtype)  # [B, HW, HW / 4]
        mixed = jnp.einsum("nqk,nkc->nqc", weights, value).reshape(n, height, width, half)
        gamma = self.param("gamma", nn.initializers.zeros, (), jnp.float32).astype(self.dtype)
        return x.astype(self.dtype) + gamma * point(channels, name="out")(mixed)


class GeneratorBlock(nn.Module):
    """`[B, H, W, I]` to `[B, 2H, 2W, features]`.

    Norm, ReLU, nearest-neighbour up, 3 x 3, norm, ReLU, 3 x 3; the skip is up and 1 x 1. A 1 x 1 convolution
    commutes with repeating pixels, so it comes first, at a quarter of the work.
    """

    features: int
    spectral: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, condition: jax.Array | None, *, train: bool, axis_name: str | None
    ) -> jax.Array:
        wide = functools.partial(_wide, self.features, spectral=self.spectral, dtype=self.dtype)

        def norm(h: jax.Array, name: str) -> jax.Array:
            layer = ConditionalBatchNorm(self.spectral, self.dtype, name=name)
            return nn.relu(layer(h, condition, train=train, axis_name=axis_name))

        h = wide(name="conv_0")(upsample(norm(x, "norm_0"), _BOX))
        h = wide(name="conv_1")(norm(h, "norm_1"))
        skip = _point(self.features, spectral=self.spectral, dtype=self.dtype, name="skip")(x)
        return h + upsample(skip, _BOX)


class DiscriminatorBlock(nn.Module):
    """`[B, H, W, I]` to `[B, H, W, features]`, halved by an average where `halve`; spectral norm throughout.

    ReLU, 3 x 3, ReLU, 3 x 3, average; the skip is 1 x 1 and average, or the identity where nothing changes
    shape. The network's `first` block has no ReLU in front. Averaging commutes with 1 x 1, so it comes first.

    `skip="rectified"` is `h(relu(x)) + s(relu(x))`, what code with an in-place ReLU computes, behind the
    published scores; `"plain"` is the papers' `h(relu(x)) + s(x)`. The first block has `s(x)` in both.
    """

    features: int
    halve: bool
    first: bool = False
    skip: Skip = "rectified"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.skip not in ("rectified", "plain"):
            raise ValueError(f"skip must be rectified or plain, got {self.skip!r}")
        wide = functools.partial(_wide, self.features, spectral=True, dtype=self.dtype)
        rectified = x if self.first else nn.relu(x)
        h = wide(name="conv_1")(nn.relu(wide(name="conv_0")(rectified)))
        skip = rectified if self.skip == "rectified" else x
        if self.halve:
            h, skip = downsample(h, _BOX), downsample(skip, _BOX)
        if self.halve or x.shape[-1] != self.features:
            skip = _point(self.features, spectral=True, dtype=self.dtype, name="skip")(skip)
        return h + skip


def grow(
    x: jax.Array,
    conditions: Sequence[jax.Array | None],
    widths: Sequence[int],
    channels: int,
    *,
    attention: Sequence[int] = (),
    spectral: bool = False,
    dtype: Any = jnp.float32,
    train: bool,
    axis_name: str | None,
) -> Images:
    """The generator behind its first map, inside a compact module: blocks, norm, ReLU, 3 x 3, tanh.

    Args:
        x: `[B, base, base, C]`.
        conditions: for each block, `[B, K]` or None.
        widths: for each block, the channels of its output.
        channels: of the image.
        attention: after which blocks, counted from 1.

    Raises:
        ValueError: attention after a block that isn't there.
    """
    _check_attention(attention, len(widths))
    for i, (width, condition) in enumerate(zip(widths, conditions, strict=True), 1):
        block = GeneratorBlock(width, spectral, dtype, name=f"block_{i}")
        x = block(x, condition, train=train, axis_name=axis_name)
        if i in attention:
            x = SelfAttention(spectral, dtype, name=f"attention_{i}")(x)
    x = BatchNorm(dtype, epsilon=EPSILON, name="norm")(x, train=train, axis_name=axis_name)
    x = _wide(channels, spectral=spectral, dtype=dtype, name="image")(nn.relu(x))
    return jnp.tanh(x.astype(jnp.float32))


def judge(
    x: Images,
    label: Labels | None,
    classes: int | None,
    widths: Sequence[int],
    halvings: int,
    *,
    attention: Sequence[int] = (),
    skip: Skip = "rectified",
    dtype: Any = jnp.float32,
) -> jax.Array:
    """The whole discriminator, inside a compact module: blocks, ReLU, sum over the map, logits `[B]`.

    With labels the logit is `w . f + b + e_y . f`, e_y the label's row of a table that has spectral norm too;
    both are float32. Miyato and Koyama, "cGANs with projection discriminator", 2018, equation 4.

    Raises:
        ValueError: attention after a block that isn't there; no labels where there are classes.
    """
    label = check_label(label, classes)
    _check_attention(attention, len(widths))
    for i, width in enumerate(widths, 1):
        x = DiscriminatorBlock(width, i <= halvings, i == 1, skip, dtype, name=f"block_{i}")(x)
        if i in attention:
            x = SelfAttention(True, dtype, name=f"attention_{i}")(x)
    features = jnp.sum(nn.relu(x).astype(jnp.float32), axis=(1, 2))  # [B, C]
    logits = Dense(1, spectral=True, kernel_init=_ORTHOGONAL, name="logit")(features)[:, 0]
    if classes is None or label is None:
        return logits
    table = Embed(features.shape[-1], spectral=True, kernel_init=_ORTHOGONAL, classes=classes, name="embed")
    return logits + jnp.sum(table(label) * features, axis=-1)


def first_map(latents: jax.Array, base: int, features: int, *, spectral: bool, dtype: Any) -> jax.Array:
    """Latents `[B, Z]` to the generator's first map `[B, base, base, features]`, inside a compact module."""
    size = base * base * features
    project = Dense(size, spectral=spectral, kernel_init=_ORTHOGONAL, dtype=dtype, name="project")
    return project(latents).reshape(-1, base, base, features)


def one_hot(label: Labels | None, classes: int | None, dtype: Any) -> jax.Array | None:
    """`[B, classes]`; None without classes. Raises ValueError where there are classes, but no labels."""
    label = check_label(label, classes)
    return None if label is None or classes is None else jax.nn.one_hot(label, classes, dtype=dtype)


def label_table(label: Labels, classes: int, features: int) -> jax.Array:
    """A learned vector for each label, `[B, features]`, free of spectral norm, inside a compact module."""
    return Embed(features, kernel_init=_ORTHOGONAL, classes=classes, name="embed")(label)


def _check_attention(attention: Sequence[int], blocks: int) -> None:
    wrong = [place for place in attention if not 1 <= place <= blocks]
    if wrong:
        raise ValueError(f"attention after block {wrong[0]}, but the blocks are 1 to {blocks}")


def _wide(features: int, **keywords: Any) -> Conv:
    return Conv(features, size=3, padding=1, kernel_init=_ORTHOGONAL, **keywords)


def _point(features: int, **keywords: Any) -> Conv:
    return Conv(features, size=1, padding=0, kernel_init=_ORTHOGONAL, **keywords)


def _max_pool(x: jax.Array) -> jax.Array:
    """The largest of every 2 x 2 pixels."""
    n, height, width, channels = x.shape
    return jnp.max(x.reshape(n, height // 2, 2, width // 2, 2, channels), axis=(2, 4))
