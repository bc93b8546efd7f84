"""StyleGAN2: a mapping network, a synthesis network of modulated convolutions, and a residual discriminator.

Karras et al., "Analyzing and improving the image quality of StyleGAN", 2020. Labels, clamping and mixed precision
are those of Karras et al., "Training generative adversarial networks with limited data" (ADA), 2020.

ADA's "cifar" is `Generator(mapping_layers=2)` and `Discriminator(architecture="orig", group=32)`: 20,215,315 and
23,089,664 parameters with 10 classes, 19,947,539 and 20,720,641 without. ADA's "paper256" has
`channel_base=16384` in both networks, and `group=8`: 24,767,458 and 24,001,089 parameters.
"""

import math
from collections.abc import Iterable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike

from ..ops import downsample, widen
from ..types import Images, Key, Labels
from .layers import (
    Remat,
    blocks_in_order,
    check_choice,
    check_counts,
    check_truncation,
    image_size,
    recomputable,
    recomputed,
)
from .layers.equalized import TAPS, EqualConv, EqualDense, minibatch_deviation
from .layers.styled import HALF, MIXING, Mapping, Maps, Synthesis

_W_DECAY = (
    0.995  # of the moving average of w; Karras et al., "A style-based generator architecture for GANs", 2019
)


class Generator(nn.Module):
    """Maps latents `[B, Z]` to images `[B, H, W, C]`, float32, roughly in [-1, 1] but not bounded.

    It has two parts: `mapping` maps latents to `[B, L, W]`, one w for each of L layers, and `synthesis` maps these
    to images. Noise and style mixing draw from `keys`. Without keys there is neither, so the distribution of
    images differs from that in training. Training passes update the moving average of w over the global batch, the
    variable `["w_avg"]["mean"]`. `truncation` psi, a Python number, replaces w by w_avg + psi (w - w_avg).

    Attributes:
        shape: shape of one image, `(H, W, C)`. The first map has 4 to 7 pixels on the smaller side, and each next
            map has twice as many on both: 256 x 256 pixels come from 4 x 4, and 192 x 128 from 6 x 4.
        classes: number of labels; None: unconditional.
        w_size: W.
        mapping_layers: number of dense layers of `mapping`.
        channel_base, channel_max: the map after k doublings has `channel_base / s` channels, s = 4 2^k, at most
            `channel_max`; s is the side of a square map that comes from 4 x 4. ADA's
            `fmaps` of 1 is 32768.
        architecture: "skip": each map adds to the image; "resnet": residual blocks, the last map gives the image.
        truncation_cutoff: the number of layers, from the first, whose w is truncated; None: all.
        noise: what the noise is outside training; in training it is always drawn. "random": drawn from `keys`;
            "const": images that `init` drew, the variables `["noise_buffers"]`; "none".
        style_mixing: probability that a sample in training uses the w of another latent from a random layer on.
            That latent is drawn from N(0, I), because `mapping` normalises anyway. StyleGAN has 0.9.
        conv_clamp: the absolute value at which activations are clipped; None: no clipping.
        low_precision: number of highest resolutions, without the first, that compute in `dtype`; the others, and
            the sum of images, are float32.
        dtype: float32, or a 16-bit type.
        remat: "none", "blocks" or "all": what derivatives of `synthesis` recompute; see `layers.Remat`.
    """

    shape: tuple[int, ...]
    classes: int | None = None
    w_size: int = 512
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    architecture: Literal["skip", "resnet"] = "skip"
    truncation_cutoff: int | None = None
    noise: Literal["random", "const", "none"] = "random"
    style_mixing: float = 0.0
    conv_clamp: float | None = 256.0
    low_precision: int = 4
    dtype: DTypeLike = jnp.float32
    remat: Remat = "none"

    def setup(self) -> None:
        check_choice("architecture", self.architecture, Literal["skip", "resnet"])
        check_choice("noise", self.noise, Literal["random", "const", "none"])
        if self.truncation_cutoff is not None and self.truncation_cutoff < 0:
            raise ValueError(f"truncation_cutoff is a number of layers, from 0 up, got {self.truncation_cutoff}")
        check_counts(w_size=self.w_size, mapping_layers=self.mapping_layers)
        if not 0 <= self.style_mixing <= 1:
            raise ValueError(f"style_mixing is a probability, so it must be from 0 to 1, got {self.style_mixing}")
        maps = Maps(
            image_size(self.shape, "stylegan2"),
            self.channel_base,
            self.channel_max,
            self.low_precision,
            self.dtype,
        )
        self.layers = 2 * len(maps.sides)
        self.to_w = Mapping(self.w_size, self.mapping_layers, self.classes)
        self.to_image = Synthesis(self.shape, maps, self.architecture, self.conv_clamp, self.noise, self.remat)
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
        return self.synthesis(ws, keys=keys, train=train)

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
        """Returns w for each layer, `[B, L, W]`. With `train` it mixes styles and updates the average of w."""
        check_truncation(truncation)
        w = self.to_w(latents, label)
        if train and not self.is_initializing() and self.is_mutable_collection("w_avg"):
            mean = lax.stop_gradient(jnp.mean(w, axis=0))
            mean = mean if axis_name is None else lax.pmean(mean, axis_name)
            self.w_avg.value = mean + _W_DECAY * (self.w_avg.value - mean)
        ws = jnp.broadcast_to(w[:, None], (w.shape[0], self.layers, self.w_size))
        if train and self.style_mixing > 0 and keys is not None:
            ws = self._mix_styles(ws, latents, label, keys)
        if truncation != 1.0:
            centre = self.w_avg.value[None, None]
            end = self.layers if self.truncation_cutoff is None else self.truncation_cutoff
            ws = jnp.concatenate([centre + truncation * (ws[:, :end] - centre), ws[:, end:]], axis=1)
        return ws

    def synthesis(self, ws: jax.Array, *, keys: Key | None = None, train: bool = False) -> Images:
        """Returns the images of `ws [B, L, W]`; `keys [B]` draw the noise (see `noise`)."""
        return self.to_image(ws, keys, train)

    def _mix_styles(self, ws: jax.Array, latents: jax.Array, label: Labels | None, keys: Key) -> jax.Array:
        """Mixes styles; each sample draws from its own key. Karras et al., 2019, section 3.1."""

        def draw(key: Key) -> tuple[jax.Array, jax.Array]:
            mix, position, other = jax.random.split(jax.random.fold_in(key, MIXING), 3)
            crossover = jax.random.randint(position, (), 1, self.layers)
            crossover = jnp.where(jax.random.bernoulli(mix, self.style_mixing), crossover, self.layers)
            return crossover, jax.random.normal(other, latents.shape[1:], latents.dtype)

        crossover, others = jax.vmap(draw)(keys)
        keep = jnp.arange(self.layers)[None] < crossover[:, None]  # [B, L]
        return jnp.where(keep[..., None], ws, self.to_w(others, label)[:, None])


class Discriminator(nn.Module):
    """Maps images `[B, H, W, C]` to logits `[B]`, float32.

    With `classes`, the last layer gives a vector. The logit is its inner product with the mapped label, divided by
    the square root of its size.

    Attributes:
        architecture: "resnet": residual blocks; "orig": plain blocks; "skip": each map also reads the image at its
            size.
        group: number of samples that minibatch deviation compares (`equalized.minibatch_deviation`). ADA has 8,
            32, or the batch of one GPU. With 1 the channel exists, but compares nothing.
        minibatch_groups: "consecutive": a group is `group` samples in a row; "strided": sample i of B is in group
            i mod (B / group), as in the authors' code.
        mapping_layers: number of dense layers that map a label to its vector.
        classes, channel_base, channel_max, conv_clamp, low_precision, dtype, remat: as in `Generator`.
    """

    classes: int | None = None
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    architecture: Literal["resnet", "orig", "skip"] = "resnet"
    group: int = 4
    minibatch_groups: Literal["consecutive", "strided"] = "consecutive"
    conv_clamp: float | None = 256.0
    low_precision: int = 4
    dtype: DTypeLike = jnp.float32
    remat: Remat = "none"

    @nn.nowrap
    def image_blocks(self, names: Iterable[str]) -> list[list[str]]:
        """Returns the names of each block's parameters, the block nearest to the image first."""
        return blocks_in_order(names, r"(?:image|skip|conv|down)_(\d+)", largest_first=True)

    @nn.compact
    @recomputable
    def __call__(self, image: Images, label: Labels | None = None, *, axis_name: str | None = None) -> jax.Array:
        check_choice("architecture", self.architecture, Literal["resnet", "orig", "skip"])
        check_choice("minibatch_groups", self.minibatch_groups, Literal["consecutive", "strided"])
        check_counts(group=self.group)
        size = image_size(image.shape[1:], "stylegan2")
        maps = Maps(size, self.channel_base, self.channel_max, self.low_precision, self.dtype)
        x = None
        for larger, smaller in zip(maps.sides[:0:-1], maps.sides[-2::-1]):

            def resolution(
                module: "Discriminator",
                x: jax.Array | None,
                image: jax.Array,
                sides: tuple[int, int] = (larger, smaller),
            ) -> tuple[jax.Array, jax.Array]:
                x = module._from_image(image, x, sides[0], maps)
                if module.architecture == "skip":
                    image = downsample(image, TAPS)
                return module._block(x, *sides, maps), image

            x, image = recomputed(resolution, self.remat != "none")(self, x, image)
        x = self._from_image(image, x, 4, maps)
        strided = self.minibatch_groups == "strided"
        x = minibatch_deviation(widen(x), self.group, axis_name, strided)
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
        y = EqualConv(
            maps.channels(side), size=1, clamp=self.conv_clamp, dtype=maps.type(side), name=f"image_{side}"
        )(image)
        return y if x is None else x.astype(y.dtype) + y

    def _block(self, x: jax.Array, larger: int, smaller: int, maps: Maps) -> jax.Array:
        """Maps `[B, h, w, I]` to `[B, h / 2, w / 2, O]`."""
        dtype, gain = maps.type(larger), 1.0
        x, shortcut = x.astype(dtype), None
        if self.architecture == "resnet":
            gain = HALF
            skip = EqualConv(
                maps.channels(smaller), size=1, use_bias=False, linear=True, dtype=dtype, name=f"skip_{larger}"
            )
            shortcut = skip(downsample(x, TAPS), gain)
        x = EqualConv(maps.channels(larger), clamp=self.conv_clamp, dtype=dtype, name=f"conv_{larger}")(x)
        down = EqualConv(
            maps.channels(smaller), down=True, clamp=self.conv_clamp, dtype=dtype, name=f"down_{larger}"
        )
        x = down(x, gain)
        return x if shortcut is None else shortcut + x
