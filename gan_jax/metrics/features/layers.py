"""Layers of frozen networks, which are only ever run forward: float32, NHWC, kernels `[kh, kw, I, O]`."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Published figures were computed in full float32; some platforms' default is less.
EXACT = lax.Precision.HIGHEST


class Affine(NamedTuple):
    """Attributes:
    kernel: `[kh, kw, I, O]`, depthwise `[kh, kw, 1, C]`, or of a linear layer `[I, O]`.
    bias: `[O]`.
    """

    kernel: np.ndarray
    bias: np.ndarray


def fold(state: Mapping[str, np.ndarray], conv: str, norm: str, eps: float) -> Affine:
    """A PyTorch convolution without bias, and the batch norm after it, as one convolution with a bias.

    gamma (w * x - mean) / sqrt(var + eps) + beta = (s w) * x + (beta - s mean), s = gamma / sqrt(var + eps).

    Args:
        state: PyTorch's state dict; its kernels are `[O, I, kh, kw]`.
        conv: name of the convolution in it.
        norm: name of the batch norm.
        eps: the batch norm's.
    """
    read = {name: np.asarray(state[f"{norm}.{name}"], np.float64) for name in _NORM}
    scale = read["weight"] / np.sqrt(read["running_var"] + eps)
    kernel = np.asarray(state[f"{conv}.weight"], np.float64).transpose(2, 3, 1, 0) * scale
    bias = read["bias"] - scale * read["running_mean"]
    return Affine(kernel.astype(np.float32), bias.astype(np.float32))


_NORM = ("weight", "bias", "running_mean", "running_var")


def linear(state: Mapping[str, np.ndarray], name: str) -> Affine:
    """A PyTorch linear layer, whose weight is `[O, I]`."""
    kernel, bias = (np.asarray(state[f"{name}.{part}"], np.float32) for part in ("weight", "bias"))
    return Affine(np.ascontiguousarray(kernel.T), bias)


def conv(x: jax.Array, layer: Affine, *, stride: int = 1, padding: str = "SAME") -> jax.Array:
    """`[N, H, W, I]` to `[N, H', W', O]`; "SAME" and "VALID" are TensorFlow's."""
    out = lax.conv_general_dilated(
        x, jnp.asarray(layer.kernel), (stride, stride), padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=EXACT,
    )  # fmt: skip
    return out + layer.bias


def depthwise(x: jax.Array, layer: Affine, *, stride: int = 1) -> jax.Array:
    """Each channel by a kernel of its own `[kh, kw, 1, C]`, padding "SAME".

    A weighted sum of shifted images: on a CPU EfficientNet-Lite0 takes an eighth of the time that it takes with
    the native grouped convolution.
    """
    kernel = jnp.asarray(layer.kernel)
    pads = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (stride, stride), "SAME")
    padded = jnp.pad(x, [(0, 0), *pads, (0, 0)])
    height, width = (stride * (-(-n // stride) - 1) + 1 for n in x.shape[1:3])
    out = jnp.zeros((), x.dtype)
    for i, j in np.ndindex(*kernel.shape[:2]):
        out = out + kernel[i, j, 0] * padded[:, i : i + height : stride, j : j + width : stride]
    return out + layer.bias


def max_pool(x: jax.Array, *, stride: int, padding: str) -> jax.Array:
    """The largest of 3 x 3 pixels."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, stride, stride, 1), padding)


def mean_pool(x: jax.Array) -> jax.Array:
    """The mean of those of the 3 x 3 pixels around each pixel that lie inside the image."""
    for axis in (1, 2):
        n = x.shape[axis]
        padded = jnp.pad(x, [(1, 1) if a == axis else (0, 0) for a in range(4)])
        first, second, third = (lax.slice_in_dim(padded, k, k + n, axis=axis) for k in range(3))
        i = np.arange(n)
        inside = (np.minimum(i + 1, n - 1) - np.maximum(i - 1, 0) + 1).astype(np.float32)
        x = (first + second + third) / inside.reshape([n if a == axis else 1 for a in range(4)])
    return x


def three_channels(images: jax.Array) -> jax.Array:
    """Images of one channel as grey ones of three."""
    return jnp.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
