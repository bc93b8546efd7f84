"""Self-attention over the pixels of a map, for SAGAN and BigGAN."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from ...ops import in_float32, multiply
from .base import Conv
from .remat import recomputable
from .spectral import Spectral


class SelfAttention(nn.Module):
    """`x + gamma W_o softmax(q k^T) v` over the pixels of a map `[B, H, W, C]`; gamma starts at 0.

    Queries and keys have C/8 channels, values C/2. Keys and values are max-pooled to a quarter of the pixels.
    Scores are not divided by sqrt(d), and the 1 x 1 convolutions have no biases. Scores and softmax are float32.

    Zhang et al., "Self-attention generative adversarial networks", 2018, equations 1 to 3. The paper does not pool
    and has C/8 channels throughout; pooling and C/2 are from the code of its authors and of BigGAN.
    """

    spectral: Spectral = True
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    @recomputable
    def __call__(self, x: jax.Array) -> jax.Array:
        n, height, width, channels = x.shape
        if height % 2 or width % 2:
            raise ValueError(
                f"self-attention pools its map by 2, but {height} x {width} is odd: move it after another block "
                "with attention=(...), or turn it off with attention=()"
            )
        small, half = max(1, channels // 8), max(1, channels // 2)
        linear = functools.partial(conv1x1, spectral=self.spectral, use_bias=False, dtype=self.dtype)
        query = linear(small, name="query")(x).reshape(n, -1, small)
        key = _max_pool(linear(small, name="key")(x)).reshape(n, -1, small)
        value = _max_pool(linear(half, name="value")(x)).reshape(n, -1, half)
        exact = jnp.promote_types(self.dtype, jnp.float32)  # 16 bits would round a large score by whole units
        scores = jnp.einsum("nqc,nkc->nqk", query, key, preferred_element_type=exact)
        weights = jax.nn.softmax(scores, axis=-1).astype(self.dtype)  # [B, HW, HW / 4]
        mixed = jnp.einsum("nqk,nkc->nqc", weights, value).reshape(n, height, width, half)
        gamma = self.param("gamma", nn.initializers.zeros, (), jnp.float32)
        return x.astype(self.dtype) + multiply(linear(channels, name="out")(mixed), gamma)


def conv1x1(features: int, **keywords: Any) -> Conv:
    """Returns a 1 x 1 convolution whose weights start orthogonal."""
    return Conv(features, size=1, padding=0, kernel_init=nn.initializers.orthogonal(), **keywords)


@in_float32
def _max_pool(x: jax.Array) -> jax.Array:
    """Returns the maximum of every 2 x 2 pixels."""
    n, height, width, channels = x.shape
    return jnp.max(x.reshape(n, height // 2, 2, width // 2, 2, channels), axis=(2, 4))
