"""R3GAN: two plain residual networks, mirror images of each other, without any normalisation.

Huang et al., "The GAN is dead; long live the GAN! A modern baseline GAN", 2024, configuration E. Each resolution
has a few residual blocks `x + conv1x1(f(grouped3x3(f(conv1x1(x)))))`, f a biased leaky rectifier. The branch ends
in zeros, so at the start a network is a linear function, and its other two convolutions begin smaller the more
blocks there are (Zhang et al., "Fixup initialization", 2019). It is played with `losses.relativistic` and
`penalties.r1_r2`.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ..ops import downsample, grouped_conv, upsample
from ..types import Images, Labels
from .layers import Conv, Dense, Initializer, check_counts, doublings, need_label, side

TAPS = (1, 3, 3, 1)  # of the filter between two resolutions
SLOPE = 0.2  # of the leaky rectifier
MOST = 1024  # pixels on a side

Sizes = tuple[int, ...]


class Preset(NamedTuple):
    """A published network, and what it was trained with.

    Learning rate, Adam's b2 and gamma follow half a cosine from start to end over `images` images of the run,
    augmentation and the half-life one from 0 up (`schedules.cosine`). For all: Adam with b1 = 0, learning rate
    2e-4 to 5e-5, b2 0.9 to 0.99 and eps 1e-8; 64 normal latents; mirrored images.

    Attributes:
        widths: channels at each resolution, from 4 x 4 up.
        cardinality: groups of the 3 x 3 convolutions there.
        full_precision_up_to: the highest resolution computed in float32, in pixels on a side.
        images: length of the schedules.
        gamma: weight of R1 and of R2, start and end.
        augment: probability of an augmentation at the end.
        half_life: of the average of the generator at the end, in images.
        batch: images in a step.
    """

    widths: Sizes
    cardinality: Sizes
    full_precision_up_to: int
    images: float
    gamma: tuple[float, float]
    augment: float
    half_life: float
    batch: int


PRESETS = {
    "cifar10": Preset((768,) * 4, (96,) * 4, 4, 20e6, (0.05, 0.005), 0.55, 5e6, 512),
    "ffhq64": Preset((768,) * 4 + (384,), (96,) * 4 + (48,), 4, 20e6, (2.0, 0.2), 0.3, 0.5e6, 256),
    "ffhq256": Preset((768,) * 4 + (384, 192, 96), (96,) * 4 + (48, 24, 12), 16, 20e6, (150, 15), 0.3, 0.5e6, 256),
    "imagenet32": Preset((1536,) * 4, (96,) * 4, 4, 200e6, (0.5, 0.05), 0.5, 50e6, 4096),
    "imagenet64": Preset((1536,) * 5, (96,) * 5, 4, 200e6, (1.0, 0.1), 0.4, 50e6, 4096),
}


class Stage(NamedTuple):
    """One resolution: pixels on a side, channels, groups, and what it is computed in."""

    side: int
    width: int
    groups: int
    dtype: Any


def _normal(gain: float = 1.0) -> Initializer:
    """N(0, gain^2 / fan in)."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


def _groups(hidden: int) -> int:
    """As many groups as leave each at least 16 channels."""
    return max(n for n in range(1, max(1, hidden // 16) + 1) if hidden % n == 0)


class _GroupedConv(Conv):
    groups: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self._kernel((self.size, self.size, x.shape[-1] // self.groups, self.features))
        x = grouped_conv(x.astype(self.dtype), kernel, groups=self.groups, padding=self.padding)
        return self._finish(x, self.features)


class Block(nn.Module):
    """`x + conv_3(f(conv_2(f(conv_1(x)))))`, `[B, H, W, C]` to the same, f(x) = max(x, 0.2 x).

    The first two convolutions have biases, which begin at zero; nothing follows the sum.

    Attributes:
        groups: of the 3 x 3 convolution in the middle.
        expansion: its channels are this many times C.
        gain: of the initial values of conv_1 and conv_2; conv_3 begins as zeros.
        dtype: what it computes in.
    """

    groups: int
    expansion: int
    gain: float
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        hidden = width * self.expansion
        common = {"kernel_init": _normal(self.gain), "dtype": self.dtype}
        x = x.astype(self.dtype)
        h = Conv(hidden, size=1, padding=0, **common, name="conv_1")(x)
        h = nn.leaky_relu(h, SLOPE)
        h = _GroupedConv(hidden, groups=self.groups, **common, name="conv_2")(h)
        h = nn.leaky_relu(h, SLOPE)
        return x + _pointwise(width, self.dtype, "conv_3", nn.initializers.zeros)(h)


def _pointwise(features: int, dtype: Any, name: str, init: Initializer | None = None) -> Conv:
    init = _normal() if init is None else init
    return Conv(features, size=1, padding=0, use_bias=False, kernel_init=init, dtype=dtype, name=name)


class _R3GAN(nn.Module, kw_only=True):
    """What both players are made of: the attributes, and the stages that they describe."""

    preset: str | None = None
    widths: Sizes | None = None
    cardinality: int | Sizes | None = None
    blocks: int = 2
    expansion: int = 2
    base: int | None = None
    full_precision_up_to: int | None = None
    classes: int | None = None
    dtype: Any = jnp.float32

    @nn.nowrap
    def stages(self, size: int) -> list[Stage]:
        """From the lowest resolution up to images of `size` pixels on a side.

        Raises:
            ValueError: an attribute, or that they don't fit the size.
        """
        check_counts(blocks=self.blocks, expansion=self.expansion)
        base, times = doublings(size, self.base, "r3gan", MOST)
        sides = [base * 2**i for i in range(times + 1)]
        widths, cardinality, exact = self._sizes(sides)
        for what, values in (("widths", widths), ("cardinality", cardinality)):
            if len(values) != len(sides):
                raise ValueError(
                    f"r3gan takes one of {what} for each resolution, {', '.join(map(str, sides))} pixels: "
                    f"{len(sides)} numbers, not {values}"
                )
            check_counts(**{what: min(values)})
        for width, groups in zip(widths, cardinality):
            if width * self.expansion % groups:
                raise ValueError(f"r3gan: cardinality {groups} does not divide {width * self.expansion} channels")
        dtypes = [jnp.float32 if s <= exact else self.dtype for s in sides]
        return [Stage(*stage) for stage in zip(sides, widths, cardinality, dtypes)]

    @nn.nowrap
    def _sizes(self, sides: list[int]) -> tuple[Sizes, Sizes, int]:
        """Widths, cardinality and the highest resolution in float32: as given, of the preset, or by rule."""
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"r3gan has no preset {self.preset!r}: there are {', '.join(PRESETS)}")
        preset = PRESETS[self.preset] if self.preset is not None else None
        widths, cardinality, exact = self.widths, self.cardinality, self.full_precision_up_to
        if isinstance(cardinality, int):
            cardinality = (cardinality,) * len(sides)
        if widths is None and preset is not None:
            widths, cardinality = preset.widths, cardinality or preset.cardinality
        if widths is None:
            widths = tuple(768 // 2 ** max(0, i - 3) for i in range(len(sides)))
        if cardinality is None:
            cardinality = tuple(_groups(width * self.expansion) for width in widths)
        if exact is None:
            exact = max(sides[0], sides[-1] // 16) if preset is None else preset.full_precision_up_to
        return widths, cardinality, exact

    @nn.nowrap
    def residual(self, x: jax.Array, stage: Stage, stages: int) -> jax.Array:
        """The residual blocks of one of so many stages."""
        gain = math.sqrt(2 / (1 + SLOPE**2)) * (self.blocks * stages) ** -0.25
        for i in range(self.blocks):
            block = Block(stage.groups, self.expansion, gain, stage.dtype, name=f"block_{stage.side}_{i}")
            x = block(x)
        return x

    @nn.nowrap
    def embed(self, label: Labels | None, features: int, std: float) -> jax.Array:
        """A learned vector for each label, `[B, features]`, float32."""
        label, init = need_label(label, self.classes), nn.initializers.normal(std)
        return nn.Embed(self.classes or 0, features, embedding_init=init, name="embed")(label)


class Generator(_R3GAN):
    """Latents `[B, Z]` to images `[B, H, W, C]`, meant in [-1, 1] but not bounded. The paper takes Z = 64.

    The image is computed at the precision of the highest resolution and given as float32; the original leaves it,
    and with it the gradient of R2, in bfloat16.

    Attributes:
        shape: shape of one image, `(H, W, C)`, square: `base` doubled some times.
        preset: a name in `PRESETS`, for its widths, cardinality and precision.
        widths: channels at each resolution from the lowest up; None: those of the preset, or else 768 at the first
            four and half as many at each one further.
        cardinality: groups of the 3 x 3 convolutions, one number or one for each resolution; None: those of the
            preset with its widths, or else groups of 16 channels.
        blocks: residual blocks at a resolution.
        expansion: width of the 3 x 3 convolution, as a multiple of the block's.
        base: side of the lowest resolution; None: the largest up to 7 that doubles into H.
        full_precision_up_to: the highest resolution, in pixels, that is computed in float32 whatever `dtype` is;
            None: that of the preset, or else the lowest and all but the four highest.
        classes: number of labels it is conditioned on, or None.
        dtype: what it computes in; parameters are float32.
        embedding: numbers that stand for a label, beside the latents.
    """

    shape: tuple[int, ...]
    embedding: int = 64

    @nn.compact
    def __call__(self, latents: jax.Array, label: Labels | None = None) -> Images:
        stages = self.stages(side(self.shape, "r3gan"))
        first, last = stages[0], stages[-1]
        z = latents
        if self.classes is not None:
            z = jnp.concatenate([z, self.embed(label, self.embedding, self.classes**-0.5)], axis=-1)
        style = Dense(first.width, use_bias=False, kernel_init=_normal(), dtype=first.dtype, name="style")(z)
        shape = (first.side, first.side, first.width)
        basis = self.param("basis", nn.initializers.normal(1.0), shape, jnp.float32)
        x = basis.astype(first.dtype) * style[:, None, None, :]  # [B, base, base, C]
        x = self.residual(x, first, len(stages))
        for stage in stages[1:]:
            if stage.width != x.shape[-1]:
                x = _pointwise(stage.width, stage.dtype, f"to_{stage.side}")(x)
            x = upsample(x.astype(stage.dtype), TAPS)
            x = self.residual(x, stage, len(stages))
        return _pointwise(self.shape[-1], last.dtype, "image")(x).astype(jnp.float32)


class Discriminator(_R3GAN):
    """Images `[B, H, W, C]` to logits `[B]`, float32.

    With `classes` the logit is the inner product of the features and a label's vector. Miyato and Koyama, "cGANs
    with projection discriminator", 2018, without the term that does not know the label.

    Attributes:
        preset, widths, cardinality, blocks, expansion, base, full_precision_up_to, classes, dtype: as in
            `Generator`; `widths` from the lowest resolution up, too.
    """

    @nn.compact
    def __call__(self, image: Images, label: Labels | None = None) -> jax.Array:
        stages = self.stages(side(image.shape[1:], "r3gan"))
        first, last = stages[0], stages[-1]
        x = _pointwise(last.width, last.dtype, "image")(image)
        for stage, below in zip(stages[:0:-1], stages[-2::-1]):
            x = downsample(self.residual(x, stage, len(stages)), TAPS)
            if below.width != x.shape[-1]:
                x = _pointwise(below.width, stage.dtype, f"to_{below.side}")(x)
        x = self.residual(x, first, len(stages))
        shape = (first.side, first.side, first.width)
        # A depthwise convolution as large as the map, as a sum: exact float32 on every backend.
        kernel = self.param("pool", nn.initializers.normal(1 / first.side), shape, jnp.float32)
        x = jnp.sum(x * kernel.astype(first.dtype), axis=(1, 2))  # [B, C]
        features = 1 if self.classes is None else first.width
        x = Dense(features, use_bias=False, kernel_init=_normal(), dtype=first.dtype, name="logit")(x)
        x = x.astype(jnp.float32)
        if self.classes is None:
            return x[:, 0]
        return jnp.sum(x * self.embed(label, features, (self.classes * features) ** -0.5), axis=-1)
