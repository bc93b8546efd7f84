"""Convolution whose kernel is scaled by a style, differently for each sample."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from .conv import conv, conv_transpose
from .float32 import multiply
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
    """Convolves each sample b with its own modulated kernel,

        w[b, y, x, i, o] = d[b, o] s[b, i] w[y, x, i, o]
        d[b, o]          = 1 / sqrt(sum_yxi (s[b, i] w[y, x, i, o])^2 + eps), or 1 without demodulation

    The kernels w[b] are never built: s scales the input and d the output of one convolution that all samples
    share. d is computed in float32 at least.

    In 16 bits, with demodulation, s is first divided by its largest value in the sample, and w by its largest
    value for the output and the square root of its fan-in. So no value leaves the range of its type, and d cancels
    both divisions (except for eps).

    With `up` the result is twice as large: a transposed convolution with a stride of 2 (pixel i adds its product
    with tap a to pixel 2 i + a), then the filter with a gain of 4, because of the zeros in between. d is the same.

    Karras et al., "Analyzing and improving the image quality of StyleGAN", 2020, section 2.2; the division is from
    Karras et al., "Training generative adversarial networks with limited data", 2020.

    Args:
        x: `[B, H, W, I]`.
        kernel: `[kh, kw, I, O]`; its type may be wider than that of x.
        style: `[B, I]`, where 1 leaves the kernel as it is; its type may be wider than that of x.
        demodulate: gives each output the variance that a kernel of norm one would give.
        padding: the number of zeros on every side; must be 0 with `up`, which handles the border itself.
        up: the taps of the filter (see `filter2d`), such as [1, 3, 3, 1], to double the size; None: no upsampling.
        eps: is added to the square of the norm.

    Returns:
        `[B, H + 2 padding - kh + 1, ..., O]` of x's type; `[B, 2 H, 2 W, O]` with `up`.

    Raises:
        ValueError: the kernel does not have I input channels, or the style is not `[B, I]`; with `up`, there is
            padding, or the kernel is not square or too large for the filter.
    """
    if kernel.shape[2] != x.shape[3]:
        raise ValueError(f"the kernel needs {kernel.shape[2]} channels, but the images have {x.shape[3]}")
    if style.shape != (x.shape[0], x.shape[3]):
        raise ValueError(f"the style must be [B, I] = {(x.shape[0], x.shape[3])}, got {style.shape}")
    if up is not None and padding:
        raise ValueError(f"padding must be 0 together with up, got {padding}")
    exact = jnp.promote_types(x.dtype, jnp.float32)
    w, s = kernel.astype(exact), style.astype(exact)
    if demodulate and x.dtype.itemsize == 2:
        w = _normalised(w, axes=(0, 1, 2)) / math.sqrt(math.prod(kernel.shape[:3]))
        s = _normalised(s, axes=(1,))
    scaled, w_low = multiply(x, s[:, None, None]), w.astype(x.dtype)
    y = conv(scaled, w_low, padding=padding) if up is None else _upsample(scaled, w_low, up)
    if not demodulate:
        return y
    # Full precision, even where the platform's default is lower, because the norm keeps activations in range.
    power = jnp.matmul(s**2, jnp.sum(w**2, axis=(0, 1)), precision=lax.Precision.HIGHEST)  # [B, O]
    return multiply(y, lax.rsqrt(power + eps)[:, None, None])


def _upsample(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """Applies the transposed convolution, then the filter, centred on the result."""
    # The alignment is that of Karras et al., generalised to any size.
    size, spare = kernel.shape[0], len(taps) - 1 - kernel.shape[0]
    if kernel.shape[1] != size or spare < -1:
        raise ValueError(
            f"up with {len(taps)} taps needs a square kernel of size {len(taps)} or less, got {kernel.shape}"
        )
    y = conv_transpose(x, jnp.swapaxes(kernel, 2, 3), stride=2)  # [B, 2 H + k - 2, ..., O]
    return filter2d(y, taps, padding=((spare + 1) // 2 + 1, spare // 2 + 1), gain=4.0)


def _normalised(a: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Divides `a` by its largest absolute value along `axes`, if that is not 0.

    The divisor is a constant in every derivative, because demodulation cancels it.
    """
    largest = lax.stop_gradient(jnp.max(jnp.abs(a), axis=axes, keepdims=True))
    return a / jnp.where(largest > 0, largest, 1)
