"""Layers of the StyleGAN family: equalised learning rate, scaled leaky ReLU, minibatch standard deviation.

With an equalised learning rate, a weight is stored as N(0, 1) and multiplied by He's constant at run time. An
optimizer that normalises gradients, as Adam does, then trains every layer at the same speed. Karras et al.,
"Progressive growing of GANs for improved quality, stability, and variation", 2018, section 4.1.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike

from ...ops import add, conv, filter2d, leaky_relu, widen

TAPS = (1.0, 3.0, 3.0, 1.0)


def activate(x: jax.Array, gain: float = 1.0, clamp: float | None = None, linear: bool = False) -> jax.Array:
    """Applies a leaky ReLU of slope 0.2 times sqrt(2), multiplies by `gain`, and clips at +-`gain` `clamp`.

    The sqrt(2) keeps the variance. `linear` leaves out the leaky ReLU and the sqrt(2). Clipping keeps 16-bit
    activations in range: Karras et al., "Training generative adversarial networks with limited data", 2020.
    """
    if not linear:
        x = leaky_relu(x, 0.2) * math.sqrt(2)
    if gain != 1.0:
        x = x * gain
    return x if clamp is None else jnp.clip(x, -gain * clamp, gain * clamp)


class EqualDense(nn.Module):
    """Maps `[..., I]` to float32 `[..., features]`: `x @ (kernel m / sqrt(I)) + bias m`, m being `lr_mul`.

    The kernel starts as N(0, 1) / m. So the layer starts as for m = 1, and learns m times as fast.

    Attributes:
        bias_init: the initial value of the bias, m included.
        linear: leaves out the activation.
    """

    features: int
    lr_mul: float = 1.0
    bias_init: float = 0.0
    linear: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape, init = (x.shape[-1], self.features), nn.initializers.normal(1 / self.lr_mul)
        kernel = self.param("kernel", init, shape, jnp.float32) * (self.lr_mul / math.sqrt(x.shape[-1]))
        init = nn.initializers.constant(self.bias_init / self.lr_mul)
        bias = self.param("bias", init, (self.features,), jnp.float32) * self.lr_mul
        x = widen(x) @ kernel
        return activate(x + jnp.expand_dims(bias, tuple(range(x.ndim - 1))), linear=self.linear)


class EqualConv(nn.Module):
    """Convolution: maps `[N, H, W, I]` to `[N, H, W, features]`, or to half the size with `down`.

    Attributes:
        size: the side of the kernel, odd; 3 with `down`.
        down: filters with `TAPS` first, then convolves with a stride of 2.
        use_bias: adds a bias.
        linear: leaves out the activation.
        clamp: see `activate`.
        dtype: the type that the layer computes in.

    Raises:
        ValueError: `down` with a size other than 3, which the filter's padding assumes.
    """

    features: int
    size: int = 3
    down: bool = False
    use_bias: bool = True
    linear: bool = False
    clamp: float | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, gain: float = 1.0) -> jax.Array:
        if self.down and self.size != 3:
            raise ValueError(f"EqualConv(down=True) needs a kernel of size 3, not {self.size}")
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
    """Adds the `layer`'s parameter "bias" `[C]`, initially zero, to `x [N, H, W, C]`."""
    bias = layer.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
    return add(x, bias[None, None, None])


def minibatch_deviation(
    x: jax.Array, group: int, axis_name: str | None = None, strided: bool = False
) -> jax.Array:
    """Appends a channel to `x [B, H, W, C]` that measures how much the samples of a group differ.

    The channel is the standard deviation of each element over the group, averaged over elements. A group is
    `group` consecutive samples of the global batch, or the whole batch if that is smaller. Karras et al.,
    "Progressive growing of GANs for improved quality, stability, and variation", 2018, section 3.

    Args:
        group: the number of samples in a group.
        axis_name: the device axis under `pmap`; a group that spans several devices is gathered.
        strided: sample i of a global batch of B is in group i mod (B / group), as in the authors' code; otherwise
            in group i // group, which needs less communication between devices.

    Raises:
        ValueError: the group size does not divide the global batch.
    """
    size = x.shape[0]
    total = size * (1 if axis_name is None else lax.axis_size(axis_name))
    group = min(group, total)
    if total % group:
        raise ValueError(
            f"minibatch deviation: groups of {group} do not divide a batch of {total}: change either number"
        )
    if size == total or group == 1 or (size % group == 0 and not strided):
        deviation = _deviation(x, group, strided)
    else:
        global_deviation = _deviation(lax.all_gather(x, axis_name, tiled=True), group, strided)
        deviation = lax.dynamic_slice_in_dim(global_deviation, lax.axis_index(axis_name) * size, size)
    channel = jnp.broadcast_to(deviation[:, None, None, None], (*x.shape[:3], 1))
    return jnp.concatenate([x, channel.astype(x.dtype)], axis=3)


def _deviation(x: jax.Array, group: int, strided: bool) -> jax.Array:
    """Returns the mean standard deviation of each sample's group, `[B]`, in float32 at least."""
    axis = 0 if strided else 1
    groups = widen(x).reshape(*((group, -1) if strided else (-1, group)), *x.shape[1:])
    deviation = jnp.sqrt(jnp.var(groups, axis=axis) + 1e-8)  # [B / group, H, W, C]
    mean = jnp.mean(deviation, axis=(1, 2, 3))
    return jnp.tile(mean, group) if strided else jnp.repeat(mean, group)
