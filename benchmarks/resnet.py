"""A residual GAN without normalisation at 32 x 32 pixels, for the benchmark: many 3 x 3 convolutions.

The feature maps have 4, 8, 16 and 32 pixels a side and 256, 256, 128 and 64 channels. Each map has one residual
block x + conv(act(conv(act(x)))). Nearest-neighbour upsampling or 2 x 2 means connect the maps; 1 x 1 convolutions
change the number of channels.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from gan_jax.models.layers import Conv, Dense

WIDTHS = (256, 256, 128, 64)


def act(x: jax.Array) -> jax.Array:
    return nn.leaky_relu(x, 0.2)


class Block(nn.Module):
    """A residual block: maps `[N, H, W, C]` to the same shape."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = x.shape[-1]
        h = Conv(features, dtype=self.dtype, name="conv_0")(act(x))
        return x + Conv(features, dtype=self.dtype, name="conv_1")(act(h))


class Generator(nn.Module):
    """Maps latents `[B, Z]` to images `[B, 32, 32, C]`."""

    shape: tuple[int, int, int]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, latents: jax.Array) -> jax.Array:
        x = Dense(4 * 4 * WIDTHS[0], dtype=self.dtype, name="project")(latents).reshape(-1, 4, 4, WIDTHS[0])
        for i, width in enumerate(WIDTHS):
            if i:
                n, height, _, channels = x.shape
                x = jnp.broadcast_to(x[:, :, None, :, None], (n, height, 2, height, 2, channels))
                x = x.reshape(n, 2 * height, 2 * height, channels)
                if width != channels:
                    x = Conv(width, size=1, padding=0, use_bias=False, dtype=self.dtype, name=f"width_{i}")(x)
            x = Block(self.dtype, name=f"block_{i}")(x)
        image = Conv(self.shape[-1], dtype=self.dtype, name="image")(act(x))
        return jnp.tanh(image.astype(jnp.float32))


class Discriminator(nn.Module):
    """Maps images `[B, 32, 32, C]` to logits `[B]`."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        x = Conv(WIDTHS[-1], dtype=self.dtype, name="image")(image)
        for i, width in enumerate(reversed(WIDTHS)):
            if i:
                n, height, _, channels = x.shape
                x = x.reshape(n, height // 2, 2, height // 2, 2, channels).mean(axis=(2, 4))
                if width != channels:
                    x = Conv(width, size=1, padding=0, use_bias=False, dtype=self.dtype, name=f"width_{i}")(x)
            x = Block(self.dtype, name=f"block_{i}")(x)
        flat = act(x).reshape(x.shape[0], -1)
        return Dense(1, dtype=self.dtype, name="logit")(flat)[:, 0].astype(jnp.float32)
