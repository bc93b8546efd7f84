"""Layers of frozen networks, without derivatives: float32, NHWC, kernels `[kh, kw, I, O]`."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Published numbers were computed in full float32; the default of some platforms is less.
EXACT = lax.Precision.HIGHEST


class Affine(NamedTuple):
    """Parameters of a convolution or a linear layer.

    Attributes:
        kernel: `[kh, kw, I, O]`; depthwise `[kh, kw, 1, C]`; of a linear layer `[I, O]`.
        bias: `[O]`.
    """

    kernel: np.ndarray
    bias: np.ndarray


def fold(state: Mapping[str, np.ndarray], conv: str, norm: str, eps: float) -> Affine:
    """Merges a PyTorch convolution without bias and the batch norm after it into one convolution with a bias.

    gamma (w * x - mean) / sqrt(var + eps) + beta = (s w) * x + (beta - s mean), s = gamma / sqrt(var + eps).

    Args:
        state: PyTorch's state dict; its kernels are `[O, I, kh, kw]`.
        conv: name of the convolution in `state`.
        norm: name of the batch norm in `state`.
        eps: epsilon of the batch norm.
    """
    parts = {name: np.asarray(state[f"{norm}.{name}"], np.float64) for name in _NORM}
    scale = parts["weight"] / np.sqrt(parts["running_var"] + eps)
    kernel = np.asarray(state[f"{conv}.weight"], np.float64).transpose(2, 3, 1, 0) * scale
    bias = parts["bias"] - scale * parts["running_mean"]
    return Affine(kernel.astype(np.float32), bias.astype(np.float32))


_NORM = ("weight", "bias", "running_mean", "running_var")


def linear(state: Mapping[str, np.ndarray], name: str) -> Affine:
    """Returns a PyTorch linear layer of `state`, whose weight is `[O, I]` there."""
    kernel, bias = (np.asarray(state[f"{name}.{part}"], np.float32) for part in ("weight", "bias"))
    return Affine(np.ascontiguousarray(kernel.T), bias)


def conv(x: jax.Array, layer: Affine, *, stride: int = 1, padding: str = "SAME") -> jax.Array:
    """Convolves `[N, H, W, I]` to `[N, H', W', O]`; "SAME" and "VALID" are defined as in TensorFlow."""
    out = lax.conv_general_dilated(
        x, jnp.asarray(layer.kernel), (stride, stride), padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=EXACT,
    )  # fmt: skip
    return out + layer.bias


def depthwise(x: jax.Array, layer: Affine, *, stride: int = 1) -> jax.Array:
    """Convolves each channel with its own kernel, `[kh, kw, 1, C]`, with padding "SAME".

    It is computed as a weighted sum of shifted images. On a CPU EfficientNet-Lite0 then needs an eighth of the
    time that it needs with the native grouped convolution.
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
    """Returns the maximum of each window of 3 x 3 pixels."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, stride, stride, 1), padding)


def mean_pool(x: jax.Array) -> jax.Array:
    """Returns the mean of the 3 x 3 pixels around each pixel, without pixels outside the image."""
    for axis in (1, 2):
        n = x.shape[axis]
        padded = jnp.pad(x, [(1, 1) if a == axis else (0, 0) for a in range(4)])
        first, second, third = (lax.slice_in_dim(padded, k, k + n, axis=axis) for k in range(3))
        i = np.arange(n)
        inside = (np.minimum(i + 1, n - 1) - np.maximum(i - 1, 0) + 1).astype(np.float32)
        x = (first + second + third) / inside.reshape([n if a == axis else 1 for a in range(4)])
    return x


def three_channels(images: jax.Array) -> jax.Array:
    """Repeats the channel of grey images; images of three channels stay."""
    return jnp.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
