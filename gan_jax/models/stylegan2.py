"""StyleGAN2: a mapping network, a synthesis network of modulated convolutions, and a residual discriminator.

Karras et al., "Analyzing and improving the image quality of StyleGAN", 2020, in the form of Karras et al.,
"Training generative adversarial networks with limited data" (ADA), 2020: its labels, clamp and mixed precision.

ADA's "cifar" is `Generator(mapping_layers=2)` and `Discriminator(architecture="orig", group=32)`: 20,215,315 and
23,089,664 parameters with 10 classes, 19,947,539 and 20,720,641 without. Its "paper256" has
`channel_base=16384` in both, and `group=8`: 24,767,458 and 24,001,089.
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from ..ops import downsample
from ..types import Images, Key, Labels
from .layers import check_counts, check_truncation, side
from .layers.equalized import TAPS, EqualConv, EqualDense, minibatch_deviation
from .layers.styled import HALF, MIXING, Mapping, Maps, Synthesis

_W_DECAY = 0.995  # of the mean of w; Karras et al., "A style-based generator architecture for GANs", 2019


def _architecture(given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ValueError(f"architecture must be one of {', '.join(known)}, got {given!r}")


class Generator(nn.Module):
    """Latents `[B, Z]` to images `[B, H, W, C]`, float32, around [-1, 1] but not bounded by it.

    It is two networks: `mapping` takes latents to `[B, L, W]`, one w for each of L layers, and `synthesis` takes
    these to images. Noise inside, and style mixing, are drawn from `keys`; without keys there is neither, and that
    is another distribution than training's. Training passes move the average of w over the global batch, which is
    the variable `["w_avg"]["mean"]`; `truncation` psi, a Python number, replaces w by w_avg + psi (w - w_avg).

    Attributes:
        shape: shape of one image, `(H, W, C)`, square, H a power of two from 8 up.
        classes: number of labels it is conditioned on, or None.
        w_size: W.
        mapping_layers: dense layers of `mapping`.
        channel_base, channel_max: a map of side s has `channel_base / s` channels, `channel_max` at most. ADA's
            `fmaps` of 1 is 32768.
        architecture: "skip": each map adds to the image; "resnet": residual blocks, and an image of the last map.
        style_mixing: probability that a sample, in training, takes its layers from some layer on from another
            latent. That is drawn from N(0, I), as `mapping` normalises. StyleGAN has 0.9.
        conv_clamp: where activations are cut off; None: nowhere.
        low_precision: how many of the highest resolutions compute in `dtype`, those above 4 x 4 at most; the
            rest, and the sum of images, are float32.
        dtype: float32, or a type of 16 bits.
    """

    shape: tuple[int, ...]
    classes: int | None = None
    w_size: int = 512
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    architecture: Literal["skip", "resnet"] = "skip"
    style_mixing: float = 0.0
    conv_clamp: float | None = 256.0
    low_precision: int = 4
    dtype: Any = jnp.float32

    def setup(self) -> None:
        _architecture(self.architecture, ("skip", "resnet"))
        check_counts(w_size=self.w_size, mapping_layers=self.mapping_layers)
        if not 0 <= self.style_mixing <= 1:
            raise ValueError(f"style_mixing is a probability, so it is from 0 to 1, not {self.style_mixing}")
        maps = Maps(
            side(self.shape, "stylegan2"), self.channel_base, self.channel_max, self.low_precision, self.dtype
        )
        self.layers = 2 * len(maps.sides)
        self.to_w = Mapping(self.w_size, self.mapping_layers, self.classes)
        self.to_image = Synthesis(self.shape, maps, self.architecture, self.conv_clamp)
        self.w_avg = self.variable("w_avg", "mean", jnp.zeros, (self.w_size,), jnp.float32)

    def __call__(
        self,
        latents: jax.Array,
        label: Labels | None = None,
        *,
        train: bool,
        axis_name: str | None = None,
        keys: Key | None = None,
        truncation: float = 1.0,
    ) -> Images:
        ws = self.mapping(latents, label, train=train, axis_name=axis_name, keys=keys, truncation=truncation)
        return self.synthesis(ws, keys=keys)

    def mapping(
        self,
        latents: jax.Array,
        label: Labels | None = None,
        *,
        train: bool,
        axis_name: str | None = None,
        keys: Key | None = None,
        truncation: float = 1.0,
    ) -> jax.Array:
        """`[B, L, W]`. With `train` the mean of w moves, and styles are mixed."""
        check_truncation(truncation)
        w = self.to_w(latents, label)
        if train and not self.is_initializing() and self.is_mutable_collection("w_avg"):
            mean = lax.stop_gradient(jnp.mean(w, axis=0))
            mean = mean if axis_name is None else lax.pmean(mean, axis_name)
            self.w_avg.value = mean + _W_DECAY * (self.w_avg.value - mean)
        ws = jnp.broadcast_to(w[:, None], (w.shape[0], self.layers, self.w_size))
        if train and self.style_mixing > 0 and keys is not None:
            ws = self._mixed(ws, latents, label, keys)
        if truncation != 1.0:
            centre = self.w_avg.value[None, None]
            ws = centre + truncation * (ws - centre)
        return ws

    def synthesis(self, ws: jax.Array, *, keys: Key | None = None) -> Images:
        """Images of `[B, L, W]`; `keys` `[B]` draw the noise."""
        return self.to_image(ws, keys)

    def _mixed(self, ws: jax.Array, latents: jax.Array, label: Labels | None, keys: Key) -> jax.Array:
        """Style mixing, each sample by its own key. Karras et al., 2019, section 3.1."""

        def draw(key: Key) -> tuple[jax.Array, jax.Array]:
            mix, where, other = jax.random.split(jax.random.fold_in(key, MIXING), 3)
            first = jax.random.randint(where, (), 1, self.layers)
            first = jnp.where(jax.random.bernoulli(mix, self.style_mixing), first, self.layers)
            return first, jax.random.normal(other, latents.shape[1:], latents.dtype)

        first, others = jax.vmap(draw)(keys)
        kept = jnp.arange(self.layers)[None] < first[:, None]  # [B, L]
        return jnp.where(kept[..., None], ws, self.to_w(others, label)[:, None])


class Discriminator(nn.Module):
    """Images `[B, H, W, C]` to logits `[B]`, float32.

    With `classes` the last layer gives a vector, and the logit is its product with the mapped label, over the root
    of its size.

    Attributes:
        architecture: "resnet": residual blocks; "orig": none; "skip": each map takes in the image at its size.
        group: samples that minibatch deviation compares, see `equalized.minibatch_deviation`; ADA takes the batch
            of one of its GPUs, or 8, or 32. 1 compares none, and keeps the channel.
        mapping_layers: dense layers between a label and its vector.
        classes, channel_base, channel_max, conv_clamp, low_precision, dtype: as in `Generator`.
    """

    classes: int | None = None
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    architecture: Literal["resnet", "orig", "skip"] = "resnet"
    group: int = 4
    conv_clamp: float | None = 256.0
    low_precision: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Images, label: Labels | None = None, *, axis_name: str | None = None) -> jax.Array:
        _architecture(self.architecture, ("resnet", "orig", "skip"))
        check_counts(group=self.group)
        size = side(image.shape[1:], "stylegan2")
        maps = Maps(size, self.channel_base, self.channel_max, self.low_precision, self.dtype)
        x = None
        for larger, smaller in zip(maps.sides[:0:-1], maps.sides[-2::-1]):
            x = self._from_image(image, x, larger, maps)
            if self.architecture == "skip":
                image = downsample(image, TAPS)
            x = self._block(x, larger, smaller, maps)
        x = self._from_image(image, x, 4, maps)
        x = minibatch_deviation(x.astype(jnp.float32), self.group, axis_name)
        x = EqualConv(maps.channels(4), clamp=self.conv_clamp, name="conv_4")(x)
        x = EqualDense(maps.channels(4), linear=False, name="dense")(x.reshape(x.shape[0], -1))
        if self.classes is None:
            return EqualDense(1, name="logit")(x)[:, 0]
        size = maps.channels(4)
        vector = Mapping(size, self.mapping_layers, self.classes, name="mapping")(None, label)
        return jnp.sum(EqualDense(size, name="logit")(x) * vector, axis=-1) / math.sqrt(size)

    def _from_image(self, image: jax.Array, x: jax.Array | None, side: int, maps: Maps) -> jax.Array:
        if x is not None and self.architecture != "skip":
            return x
        read = EqualConv(
            maps.channels(side), size=1, clamp=self.conv_clamp, dtype=maps.type(side), name=f"image_{side}"
        )(image)
        return read if x is None else x.astype(read.dtype) + read

    def _block(self, x: jax.Array, larger: int, smaller: int, maps: Maps) -> jax.Array:
        """`[B, s, s, I]` to `[B, s / 2, s / 2, O]`."""
        dtype, gain = maps.type(larger), 1.0
        x, skipped = x.astype(dtype), None
        if self.architecture == "resnet":
            gain = HALF
            skip = EqualConv(
                maps.channels(smaller), size=1, use_bias=False, linear=True, dtype=dtype, name=f"skip_{larger}"
            )
            skipped = skip(downsample(x, TAPS), gain)
        x = EqualConv(maps.channels(larger), clamp=self.conv_clamp, dtype=dtype, name=f"conv_{larger}")(x)
        down = EqualConv(
            maps.channels(smaller), down=True, clamp=self.conv_clamp, dtype=dtype, name=f"down_{larger}"
        )
        x = down(x, gain)
        return x if skipped is None else skipped + x
