"""Convolution with a kernel that a style scales, a different one for each sample."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from .conv import conv


def modulated_conv(
    x: jax.Array,
    kernel: jax.Array,
    style: jax.Array,
    *,
    demodulate: bool = True,
    padding: int = 0,
    eps: float = 1e-8,
) -> jax.Array:
    """Modulated convolution: sample b is convolved with a kernel of its own,

        w[b, y, x, i, o] = d[b, o] s[b, i] w[y, x, i, o]
        d[b, o]          = 1 / sqrt(sum_yxi (s[b, i] w[y, x, i, o])^2 + eps), or 1 without demodulation

    As s scales what goes into one convolution, shared by all samples, and d what comes out, no sample's kernel is
    ever made. d is computed in float32 at least.

    In 16 bits, and there alone, s is first divided by its largest value in a sample, and w by its largest for an
    output and the root of its fan-in: d makes up for both (but for eps), and nothing leaves the range of its type.
    Without demodulation nothing would make up for it, and nothing is divided.

    Karras et al., "Analyzing and improving the image quality of StyleGAN", 2020, section 2.2; the division is from
    Karras et al., "Training generative adversarial networks with limited data", 2020.

    Args:
        x: `[B, H, W, I]`.
        kernel: `[kh, kw, I, O]`; may be wider than x.
        style: `[B, I]`, one for the kernel as it is; may be wider than x.
        demodulate: give each output the variance that it would have with a kernel of norm one.
        padding: zeros on every side.
        eps: added to the square of the norm.

    Returns:
        `[B, H + 2 padding - kh + 1, ..., O]` of x's type.

    Raises:
        ValueError: the kernel does not take I channels, or the style is not `[B, I]`.
    """
    if kernel.shape[2] != x.shape[3]:
        raise ValueError(f"the kernel takes {kernel.shape[2]} channels, the images have {x.shape[3]}")
    if style.shape != (x.shape[0], x.shape[3]):
        raise ValueError(f"the style must be [B, I] = {(x.shape[0], x.shape[3])}, got {style.shape}")
    wide = jnp.promote_types(x.dtype, jnp.float32)
    w, s = kernel.astype(wide), style.astype(wide)
    if demodulate and x.dtype.itemsize == 2:
        w = _divided(w, axes=(0, 1, 2)) / math.sqrt(math.prod(kernel.shape[:3]))
        s = _divided(s, axes=(1,))
    y = conv(x * s.astype(x.dtype)[:, None, None], w.astype(x.dtype), padding=padding)
    if not demodulate:
        return y
    # In full precision also where the platform's default is less: the norm is what keeps activations in range.
    power = jnp.matmul(s**2, jnp.sum(w**2, axis=(0, 1)), precision=lax.Precision.HIGHEST)  # [B, O]
    return y * lax.rsqrt(power + eps).astype(x.dtype)[:, None, None]


def _divided(a: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """`a` over its largest absolute value along `axes`, a constant in every derivative as it cancels; or zeros."""
    largest = lax.stop_gradient(jnp.max(jnp.abs(a), axis=axes, keepdims=True))
    return a / jnp.where(largest > 0, largest, 1)
