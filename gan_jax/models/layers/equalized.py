"""Layers of the StyleGAN family: equalised learning rate, the scaled leaky ReLU, minibatch deviation.

With an equalised learning rate a weight is kept as N(0, 1) and multiplied at run time by He's constant, so that an
optimizer that divides by the size of gradients (Adam) gives every layer the same speed. Karras et al.,
"Progressive growing of GANs for improved quality, stability, and variation", 2018, section 4.1.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from ...ops import conv, filter2d

TAPS = (1.0, 3.0, 3.0, 1.0)


def activate(x: jax.Array, gain: float = 1.0, clamp: float | None = None, linear: bool = False) -> jax.Array:
    """Leaky ReLU of slope 0.2, times sqrt(2) to keep the variance, times `gain`; cut at +-`gain` `clamp`.

    `linear` leaves out the leaky ReLU and its sqrt(2). The cut keeps 16-bit activations in range: Karras et al.,
    "Training generative adversarial networks with limited data", 2020.
    """
    if not linear:
        x = nn.leaky_relu(x, 0.2) * math.sqrt(2)
    if gain != 1.0:
        x = x * gain
    return x if clamp is None else jnp.clip(x, -gain * clamp, gain * clamp)


class EqualDense(nn.Module):
    """`[..., I]` to float32 `[..., features]`: `x @ (kernel m / sqrt(I)) + bias m`, m the `lr_mul`.

    The kernel starts as N(0, 1) / m. So the layer starts as it would for m = 1, and learns at m times the pace.

    Attributes:
        bias_init: the first value of the bias that is added.
        linear: no activation.
    """

    features: int
    lr_mul: float = 1.0
    bias_init: float = 0.0
    linear: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape, start = (x.shape[-1], self.features), nn.initializers.normal(1 / self.lr_mul)
        kernel = self.param("kernel", start, shape, jnp.float32) * (self.lr_mul / math.sqrt(x.shape[-1]))
        start = nn.initializers.constant(self.bias_init / self.lr_mul)
        bias = self.param("bias", start, (self.features,), jnp.float32) * self.lr_mul
        x = x.astype(jnp.float32) @ kernel
        return activate(x + jnp.expand_dims(bias, tuple(range(x.ndim - 1))), linear=self.linear)


class EqualConv(nn.Module):
    """`[N, H, W, I]` to `[N, H, W, features]`, or half the size with `down`: the filter, then a stride of 2.

    Attributes:
        size: side of the kernel, odd; 3 with `down`.
        use_bias, linear: a bias is added; no activation follows.
        clamp: see `activate`.
        dtype: what it computes in.

    Raises:
        ValueError: `down` with another size than 3, for which the filter's padding is.
    """

    features: int
    size: int = 3
    down: bool = False
    use_bias: bool = True
    linear: bool = False
    clamp: float | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, gain: float = 1.0) -> jax.Array:
        if self.down and self.size != 3:
            raise ValueError(f"EqualConv(down=True) halves maps with a kernel of size 3, not {self.size}")
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape, jnp.float32)
        kernel = (kernel / math.sqrt(math.prod(shape[:3]))).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.down:
            x = conv(filter2d(x, TAPS, padding=2), kernel, stride=2)
        else:
            x = conv(x, kernel, padding=self.size // 2)
        if self.use_bias:
            x = add_bias(self, x)
        return activate(x, gain, self.clamp, self.linear)


def add_bias(layer: nn.Module, x: jax.Array) -> jax.Array:
    """`x [N, H, W, C]` plus the `layer`'s parameter "bias" `[C]`, zero at first."""
    bias = layer.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
    return x + bias.astype(x.dtype)[None, None, None]


def minibatch_deviation(x: jax.Array, group: int, axis_name: str | None = None) -> jax.Array:
    """`x [B, H, W, C]` with one more channel: how much the samples of a group differ.

    It is the standard deviation of every element over the group, its mean over elements. Groups are of consecutive
    samples of the global batch, `group` of them, or all where the batch is smaller. Karras et al., "Progressive
    growing of GANs for improved quality, stability, and variation", 2018, section 3.

    Args:
        group: samples in a group.
        axis_name: the device axis under `pmap`; a group that lies on several devices is gathered.

    Raises:
        ValueError: the group does not divide the global batch.
    """
    size = x.shape[0]
    total = size * (1 if axis_name is None else lax.axis_size(axis_name))
    group = min(group, total)
    if total % group:
        raise ValueError(
            f"minibatch deviation in groups of {group} needs a batch that they divide, not {total}: change either"
        )
    if size % group == 0:
        deviation = _deviation(x, group)
    else:
        everyone = _deviation(lax.all_gather(x, axis_name, tiled=True), group)
        deviation = lax.dynamic_slice_in_dim(everyone, lax.axis_index(axis_name) * size, size)
    channel = jnp.broadcast_to(deviation[:, None, None, None], (*x.shape[:3], 1))
    return jnp.concatenate([x, channel.astype(x.dtype)], axis=3)


def _deviation(x: jax.Array, group: int) -> jax.Array:
    """Each sample's group's mean standard deviation, `[B]`, in float32 at least."""
    groups = x.astype(jnp.promote_types(x.dtype, jnp.float32)).reshape(-1, group, *x.shape[1:])
    deviation = jnp.sqrt(jnp.var(groups, axis=1) + 1e-8)  # [B / group, H, W, C]
    return jnp.repeat(jnp.mean(deviation, axis=(1, 2, 3)), group)
