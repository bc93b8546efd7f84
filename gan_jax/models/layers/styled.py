"""Parts of StyleGAN2: the sizes of its maps, the mapping network and the synthesis network.

See `stylegan2` for the papers and for how the parts fit together.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike

from ...ops import add, modulated_conv, upsample, widen
from ...types import Images, Key, Labels
from .base import check_counts, need_label
from .equalized import TAPS, EqualConv, EqualDense, activate, add_bias
from .remat import Remat, recomputable, recomputed
from .sizes import Size, doublings

HALF = math.sqrt(0.5)  # the gain of two branches that are added, so that the sum keeps the variance
MOST = 4096  # the largest smaller side of an image, in pixels
MIXING, _NOISE = 0, 1  # folded into a sample's key; the noise of layer i folds in _NOISE + i


@dataclasses.dataclass(frozen=True)
class Maps:
    """Sides, channels and types of the maps for images of `size`, `(H, W)`; see `stylegan2.Generator`.

    A map has a nominal side: 4 for the first, and twice as much for each next. It names layers and decides
    channels and types. With a base of 4 it is the smaller side in pixels.

    Raises:
        ValueError: the size is not a first map of 4 to 7 pixels times a power of two, or a count is below 1.
    """

    size: Size
    base: int
    most: int
    low_precision: int
    dtype: DTypeLike

    def __post_init__(self) -> None:
        check_counts(channel_base=self.base, channel_max=self.most)
        doublings(self.size, model="stylegan2", least=4, most=MOST)

    @property
    def first(self) -> Size:
        """The height and width of the first map, 4 to 7 pixels on the smaller side."""
        return doublings(self.size, model="stylegan2", least=4, most=MOST)[0]

    @property
    def sides(self) -> list[int]:
        """The nominal sides of the maps: 4, 8, 16, ..."""
        return [4 * 2**i for i in range(doublings(self.size, model="stylegan2", least=4, most=MOST)[1] + 1)]

    def channels(self, side: int) -> int:
        return max(1, min(self.base // side, self.most))

    def type(self, side: int) -> DTypeLike:
        """The type in which a map of that nominal side is computed."""
        low = side > 4 and side * 2**self.low_precision > self.sides[-1]
        return self.dtype if low else jnp.promote_types(self.dtype, jnp.float32)


def _normalised(x: jax.Array) -> jax.Array:
    """Scales the last axis to mean square one."""
    x = widen(x)
    return x * lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-8)


class Mapping(nn.Module):
    """Maps latents `[B, Z]`, labels, or both, to `[B, size]`: normalises and concatenates them, then dense layers.

    The layers' learning rate is `lr_mul` times the optimizer's; the label embedding learns at the full rate.
    """

    size: int
    layers: int = 8
    classes: int | None = None
    lr_mul: float = 0.01

    @nn.compact
    def __call__(self, latents: jax.Array | None, label: Labels | None = None) -> jax.Array:
        parts = [] if latents is None else [_normalised(latents)]
        if self.classes is not None:
            embed = EqualDense(self.size, name="embed")
            parts.append(_normalised(embed(jax.nn.one_hot(need_label(label, self.classes), self.classes))))
        x = jnp.concatenate(parts, axis=-1)
        for i in range(self.layers):
            x = EqualDense(self.size, lr_mul=self.lr_mul, linear=False, name=f"dense_{i}")(x)
        return x


class StyledConv(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias, leaky ReLU: maps `[B, H, W, I]` to `[B, H, W, features]`.

    With `up`, height and width double. The kernel starts as N(0, 1), without an equalised learning rate, because
    demodulation makes its scale irrelevant. The noise is one image per sample, the same in every channel, times a
    learned strength that starts at 0. Without `keys` there is no noise. With `buffer`, the layer keeps an image of
    noise that `init` draws, the variable `["noise_buffers"]["image"]`; `fixed` adds this one to every sample.
    """

    features: int
    up: bool = False
    clamp: float | None = None
    dtype: DTypeLike = jnp.float32
    buffer: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, w: jax.Array, keys: Key | None, gain: float = 1.0, fixed: bool = False
    ) -> jax.Array:
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape, jnp.float32)
        style = EqualDense(x.shape[-1], bias_init=1.0, name="affine")(w)
        padding, up = (0, TAPS) if self.up else (1, None)
        x = modulated_conv(x.astype(self.dtype), kernel, style, padding=padding, up=up)
        strength = self.param("noise_strength", nn.initializers.zeros, (), jnp.float32)
        noise = self._buffer(x.shape[1:3])[None] if self.buffer else None
        if not fixed:
            draw = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:3], jnp.float32))
            noise = None if keys is None else draw(keys)
        if noise is not None:
            x = add(x, (strength * noise)[..., None])
        return activate(add_bias(self, x), gain, self.clamp)

    def _buffer(self, shape: tuple[int, ...]) -> jax.Array:
        if not (self.is_initializing() or self.has_variable("noise_buffers", "image")):
            raise ValueError(
                "noise='const' needs the images that the generator's `init` draws, but these variables have none: "
                "init the generator with noise='const', or sample with noise='random' or 'none'"
            )
        draw = lambda: jax.random.normal(self.make_rng("params"), shape)  # noqa: E731
        return self.variable("noise_buffers", "image", draw).value


class ToImage(nn.Module):
    """Modulated 1 x 1 convolution without demodulation: maps `[B, H, W, I]` to `[B, H, W, channels]`."""

    channels: int
    clamp: float | None = None

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        shape = (1, 1, x.shape[-1], self.channels)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape, jnp.float32)
        # Without demodulation the scale matters: the style is divided by He's constant, and not the kernel.
        style = EqualDense(x.shape[-1], bias_init=1.0, name="affine")(w) / math.sqrt(x.shape[-1])
        x = modulated_conv(x, kernel, style, demodulate=False)
        return activate(add_bias(self, x), clamp=self.clamp, linear=True)


class Synthesis(nn.Module):
    """Maps `[B, L, W]`, one w per layer, to images `[B, H, W, C]`; the attributes are those of `Generator`."""

    shape: tuple[int, ...]
    maps: Maps
    architecture: str
    clamp: float | None
    noise: str = "random"
    remat: Remat = "none"

    @nn.compact
    @recomputable
    def __call__(self, ws: jax.Array, keys: Key | None = None, train: bool = False) -> Images:
        fixed = self.noise == "const" and not train
        keys = None if self.noise == "none" and not train else keys
        start = self.param(
            "start", nn.initializers.normal(1.0), (*self.maps.first, self.maps.channels(4)), jnp.float32
        )
        x, image = jnp.broadcast_to(start, (ws.shape[0], *start.shape)), None
        for i, side in enumerate(self.maps.sides):

            def resolution(module: "Synthesis", *arrays: Any, i: int = i, side: int = side) -> tuple:
                return module._resolution(side, max(0, 2 * i - 1), fixed, *arrays)

            x, image = recomputed(resolution, self.remat != "none")(self, x, image, ws, keys)
        assert image is not None
        return image

    def _resolution(
        self,
        side: int,
        layer: int,
        fixed: bool,
        x: jax.Array,
        image: jax.Array | None,
        ws: jax.Array,
        keys: Key | None,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Returns the map of this side and the image so far; `layer` is the number of the first convolution."""
        buffer = self.noise == "const"

        def styled(kind: str, layer: int, x: jax.Array, gain: float = 1.0) -> jax.Array:
            fold_in = jax.vmap(lambda key: jax.random.fold_in(key, _NOISE + layer))
            layer_keys = None if keys is None else fold_in(keys)
            conv = StyledConv(
                self.maps.channels(side), kind == "up", self.clamp, self.maps.type(side), buffer,
                name=f"{kind}_{side}",
            )  # fmt: skip
            return conv(x, ws[:, layer], layer_keys, gain, fixed)

        residual = self.architecture == "resnet" and side > 4
        shortcut = x
        if side > 4:
            x = styled("up", layer, x)
            layer += 1
        x = styled("conv", layer, x, HALF if residual else 1.0)
        if residual:
            x = x + self._shortcut(side, shortcut)
        if self.architecture == "skip" or side == self.maps.sides[-1]:
            # The next map's first convolution uses the same w.
            added = ToImage(self.shape[-1], self.clamp, name=f"image_{side}")(x, ws[:, layer + 1])
            added = widen(added)
            image = added if image is None else upsample(image, TAPS) + added
        return x, image

    def _shortcut(self, side: int, x: jax.Array) -> jax.Array:
        layer = EqualConv(
            self.maps.channels(side), size=1, use_bias=False, linear=True, dtype=self.maps.type(side),
            name=f"skip_{side}",
        )  # fmt: skip
        return upsample(layer(x, HALF), TAPS)
