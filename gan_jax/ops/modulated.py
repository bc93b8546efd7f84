"""Convolution with a kernel that a style scales, a different one for each sample."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from .conv import conv, conv_transpose
from .resample import Taps, filter2d


def modulated_conv(
    x: jax.Array,
    kernel: jax.Array,
    style: jax.Array,
    *,
    demodulate: bool = True,
    padding: int = 0,
    up: Taps | None = None,
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

    With `up` the result is twice as large: the convolution is transposed, with a stride of 2 (pixel i adds its
    product with tap a to pixel 2 i + a), and the filter follows, with a gain of 4 for the zeros in between. d is
    as it was.

    Karras et al., "Analyzing and improving the image quality of StyleGAN", 2020, section 2.2; the division is from
    Karras et al., "Training generative adversarial networks with limited data", 2020.

    Args:
        x: `[B, H, W, I]`.
        kernel: `[kh, kw, I, O]`; may be wider than x.
        style: `[B, I]`, one for the kernel as it is; may be wider than x.
        demodulate: give each output the variance that it would have with a kernel of norm one.
        padding: zeros on every side; none with `up`, which keeps the border by itself.
        up: taps of the filter (see `filter2d`), as [1, 3, 3, 1], to make the images twice as large.
        eps: added to the square of the norm.

    Returns:
        `[B, H + 2 padding - kh + 1, ..., O]` of x's type; `[B, 2 H, 2 W, O]` with `up`.

    Raises:
        ValueError: the kernel does not take I channels, or the style is not `[B, I]`; with `up`, padding, a kernel
            that is not square, or one too large for the filter.
    """
    if kernel.shape[2] != x.shape[3]:
        raise ValueError(f"the kernel takes {kernel.shape[2]} channels, the images have {x.shape[3]}")
    if style.shape != (x.shape[0], x.shape[3]):
        raise ValueError(f"the style must be [B, I] = {(x.shape[0], x.shape[3])}, got {style.shape}")
    if up is not None and padding:
        raise ValueError(f"padding is for images that keep their size, got {padding} together with up")
    wide = jnp.promote_types(x.dtype, jnp.float32)
    w, s = kernel.astype(wide), style.astype(wide)
    if demodulate and x.dtype.itemsize == 2:
        w = _divided(w, axes=(0, 1, 2)) / math.sqrt(math.prod(kernel.shape[:3]))
        s = _divided(s, axes=(1,))
    scaled, w_low = x * s.astype(x.dtype)[:, None, None], w.astype(x.dtype)
    y = conv(scaled, w_low, padding=padding) if up is None else _twice(scaled, w_low, up)
    if not demodulate:
        return y
    # In full precision also where the platform's default is less: the norm is what keeps activations in range.
    power = jnp.matmul(s**2, jnp.sum(w**2, axis=(0, 1)), precision=lax.Precision.HIGHEST)  # [B, O]
    return y * lax.rsqrt(power + eps).astype(x.dtype)[:, None, None]


def _twice(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """The transposed convolution, and the filter in the middle of what it gives."""
    size, spare = kernel.shape[0], len(taps) - 1 - kernel.shape[0]  # the alignment of Karras et al., for any size
    if kernel.shape[1] != size or spare < -1:
        raise ValueError(
            f"{len(taps)} taps double images for square kernels of {len(taps)} at most, got {kernel.shape}"
        )
    y = conv_transpose(x, jnp.swapaxes(kernel, 2, 3), stride=2)  # [B, 2 H + k - 2, ..., O]
    return filter2d(y, taps, padding=((spare + 1) // 2 + 1, spare // 2 + 1), gain=4.0)


def _divided(a: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """`a` over its largest absolute value along `axes`, a constant in every derivative as it cancels; or zeros."""
    largest = lax.stop_gradient(jnp.max(jnp.abs(a), axis=axes, keepdims=True))
    return a / jnp.where(largest > 0, largest, 1)
