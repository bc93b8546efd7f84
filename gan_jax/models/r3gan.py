"""R3GAN: two plain residual networks, mirror images of each other, without any normalisation.

Huang et al., "The GAN is dead; long live the GAN! A modern baseline GAN", 2024, configuration E. Each resolution
has a few residual blocks `x + conv1x1(f(grouped3x3(f(conv1x1(x)))))`, where f is a leaky ReLU with a bias. The
last convolution of a branch starts at zero, so a network starts as a linear function. The other two start smaller,
the more blocks there are (Zhang et al., "Fixup initialization", 2019). The loss is `losses.relativistic`, the
penalty `penalties.r1_r2`.
"""

import math
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from ..ops import downsample, in_float32, leaky_relu, upsample, widen
from ..types import Images, Labels
from .layers import (
    Conv,
    Dense,
    GroupedConv,
    Remat,
    Size,
    blocks_in_order,
    check_counts,
    need_label,
    recomputable,
    sample_size,
)
from .layers.stages import PRESETS as PRESETS
from .layers.stages import Sizes, make_stages
from .layers.stages import Stage as Stage

TAPS = (1, 3, 3, 1)  # of the filter between two resolutions
SLOPE = 0.2  # of the leaky ReLU


def _normal(gain: float = 1.0) -> Initializer:
    """Draws from N(0, gain^2 / fan-in)."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


class Block(nn.Module):
    """Residual block `x + conv_3(f(conv_2(f(conv_1(x)))))` on `[B, *S, C]`, with f(x) = max(x, 0.2 x).

    The first two convolutions have biases, which start at zero.

    Attributes:
        groups: the groups of conv_2, the 3 x 3 convolution (audio: 3; video and volumes: 3 x 3 x 3).
        expansion: the channels of conv_2, as a multiple of C.
        gain: scales the initial values of conv_1 and conv_2; conv_3 starts at zero.
        dtype: the type that it computes in.
        remat: its derivatives recompute it.
    """

    groups: int
    expansion: int
    gain: float
    dtype: DTypeLike
    remat: bool = False

    @nn.compact
    @recomputable
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        hidden = width * self.expansion
        common = {"kernel_init": _normal(self.gain), "dtype": self.dtype}
        x = x.astype(self.dtype)
        h = leaky_relu(Conv(hidden, size=1, padding=0, **common, name="conv_1")(x), SLOPE)
        h = leaky_relu(GroupedConv(hidden, groups=self.groups, **common, name="conv_2")(h), SLOPE)
        return x + _pointwise(width, self.dtype, "conv_3", nn.initializers.zeros)(h)


@in_float32
def _pool(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the sum over the map `[B, *S, C]`, weighted by the kernel `[*S, C]`."""
    # Flat: with a sum over two axes of the map, or a vector spread over them, XLA on a GPU orders the whole
    # network's maps [H, W, C, B], and transposes them around each convolution.
    flat = x.reshape(x.shape[0], -1) * kernel.reshape(-1)
    return jnp.sum(flat.reshape(x.shape[0], -1, x.shape[-1]), axis=1)


@in_float32
def _scale(style: jax.Array, basis: jax.Array) -> jax.Array:
    """Returns the map `[B, *S, C]` of style `[B, C]` times basis `[*S, C]`."""
    # Flat, as in `_pool`.
    flat = jnp.tile(style, (1, math.prod(basis.shape[:-1]))) * basis.reshape(-1)
    return flat.reshape(style.shape[0], *basis.shape)


def _pointwise(features: int, dtype: DTypeLike, name: str, init: Initializer | None = None) -> Conv:
    init = _normal() if init is None else init
    return Conv(features, size=1, padding=0, use_bias=False, kernel_init=init, dtype=dtype, name=name)


class _R3GAN(nn.Module, kw_only=True):
    """The attributes of both networks, and the stages that they describe."""

    preset: str | None = None
    widths: Sizes | None = None
    cardinality: int | Sizes | None = None
    blocks: int = 2
    expansion: int = 2
    base: int | None = None
    full_precision_up_to: int | None = None
    classes: int | None = None
    dtype: DTypeLike = jnp.float32
    remat: Remat = "none"

    @nn.nowrap
    def stages(self, size: Size) -> list[Stage]:
        """Returns the stages from the lowest resolution up to samples of `size`: `(H, W)`, `(T,)` or `(D, H, W)`.

        Raises:
            ValueError: an attribute is invalid, or does not fit the size.
        """
        check_counts(blocks=self.blocks, expansion=self.expansion)
        return make_stages(
            size, self.base, self.preset, self.widths, self.cardinality, self.expansion,
            self.full_precision_up_to, self.dtype,
        )  # fmt: skip

    @nn.nowrap
    def residual(self, x: jax.Array, stage: Stage, stages: int) -> jax.Array:
        """Applies the residual blocks of one of the network's `stages` stages."""
        gain = math.sqrt(2 / (1 + SLOPE**2)) * (self.blocks * stages) ** -0.25
        for i in range(self.blocks):
            sizes = (stage.groups, self.expansion, gain, stage.dtype)
            x = Block(*sizes, self.remat != "none", name=f"block_{stage.side}_{i}")(x)
        return x

    @nn.nowrap
    def embed(self, label: Labels | None, features: int, std: float) -> jax.Array:
        """Returns a learned vector for each label, `[B, features]`, float32."""
        label, init = need_label(label, self.classes), nn.initializers.normal(std)
        return nn.Embed(self.classes or 0, features, embedding_init=init, name="embed")(label)


class Generator(_R3GAN):
    """Maps latents `[B, Z]` to samples `[B, *S, C]`, meant in [-1, 1] but not bounded. The paper has Z = 64.

    Samples are images, audio, video or volumes. A sample is computed at the precision of the highest resolution
    and returned as float32. The original code leaves it, and with it the gradient of R2, in bfloat16.

    Attributes:
        shape: shape of one sample, `(H, W, C)`, `(T, C)` or `(D, H, W, C)`; the smaller of H and W, or T, is
            `base` times a power of two, and the other one a multiple of that power; see `layers.sizes`.
        preset: a name in `PRESETS`, which gives widths, cardinality and precision.
        widths: channels at each resolution from the lowest up; None: those of the preset, or without one, 768 at
            the first four and then half as many at each next, at least 12 (audio: 96).
        cardinality: groups of the 3 x 3 convolutions (audio: 3; video and volumes: 3 x 3 x 3), one number or one
            for each resolution; None: those of the preset with its widths, or without one, groups of 16 channels.
        blocks: number of residual blocks at a resolution.
        expansion: width of the 3 x 3 convolution, as a multiple of the block's.
        base: smaller of H and W at the lowest resolution, or its T; None: see `layers.doublings`.
        full_precision_up_to: the highest resolution, in pixels of the smaller side or in samples of audio, that is
            computed in float32 whatever `dtype` is; None: that of the preset, or without one, the lowest and all
            but the four highest are.
        classes: number of labels; None: unconditional.
        dtype: the type that it computes in; parameters are float32.
        remat: "none", "blocks" or "all": what its derivatives recompute; see `layers.Remat`.
        embedding: size of a label's vector, which is appended to the latents.
    """

    shape: tuple[int, ...]
    embedding: int = 64

    @nn.compact
    @recomputable
    def __call__(self, latents: jax.Array, label: Labels | None = None) -> Images:
        stages = self.stages(sample_size(self.shape, "r3gan"))
        first, last = stages[0], stages[-1]
        z = latents
        if self.classes is not None:
            z = jnp.concatenate([z, self.embed(label, self.embedding, self.classes**-0.5)], axis=-1)
        style = Dense(first.width, use_bias=False, kernel_init=_normal(), dtype=first.dtype, name="style")(z)
        shape = (*first.size, first.width)
        basis = self.param("basis", nn.initializers.normal(1.0), shape, jnp.float32)
        x = _scale(style, basis)  # [B, *s, C]
        x = self.residual(x, first, len(stages))
        for stage in stages[1:]:
            if stage.width != x.shape[-1]:
                x = _pointwise(stage.width, stage.dtype, f"to_{stage.side}")(x)
            x = upsample(x.astype(stage.dtype), TAPS, stage.factor)
            x = self.residual(x, stage, len(stages))
        return widen(_pointwise(self.shape[-1], last.dtype, "image")(x))


class Discriminator(_R3GAN):
    """Maps samples `[B, *S, C]`, as the generator makes them, to logits `[B]`, float32.

    With `classes`, the logit is the inner product of the features and the label's vector. Miyato and Koyama,
    "cGANs with projection discriminator", 2018, without the term that does not depend on the label.

    Attributes:
        preset, widths, cardinality, blocks, expansion, base, full_precision_up_to, classes, dtype, remat: as
            in `Generator`; also here `widths` starts at the lowest resolution.
    """

    @nn.nowrap
    def image_blocks(self, names: Iterable[str]) -> list[list[str]]:
        """Returns the names of each block's parameters, the block nearest to the image first."""
        return blocks_in_order(names, r"(?:block|to)_(\d+)(?:_\d+)?", largest_first=True, first=("image",))

    @nn.compact
    @recomputable
    def __call__(self, image: Images, label: Labels | None = None) -> jax.Array:
        stages = self.stages(sample_size(image.shape[1:], "r3gan"))
        first, last = stages[0], stages[-1]
        x = _pointwise(last.width, last.dtype, "image")(image)
        for stage, below in zip(stages[:0:-1], stages[-2::-1]):
            x = downsample(self.residual(x, stage, len(stages)), TAPS, stage.factor)
            if below.width != x.shape[-1]:
                x = _pointwise(below.width, stage.dtype, f"to_{below.side}")(x)
        x = self.residual(x, first, len(stages))
        shape = (*first.size, first.width)
        # A depthwise convolution as large as the map, written as a sum: float32 is then exact on every backend.
        kernel = self.param(
            "pool", nn.initializers.normal(1 / math.sqrt(math.prod(first.size))), shape, jnp.float32
        )
        x = _pool(x.astype(first.dtype), kernel)  # [B, C]
        features = 1 if self.classes is None else first.width
        x = Dense(features, use_bias=False, kernel_init=_normal(), dtype=first.dtype, name="logit")(x)
        x = widen(x)
        if self.classes is None:
            return x[:, 0]
        return jnp.sum(x * self.embed(label, features, (self.classes * features) ** -0.5), axis=-1)
