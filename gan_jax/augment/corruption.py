"""ADA's image-space corruptions: amplified frequency bands, noise and cutout.

Karras et al., "Training generative adversarial networks with limited data", 2020, appendix B.3 and B.4.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..types import Key
from .wavelets import band_filters

_POWER = np.array([10.0, 1.0, 1.0, 1.0]) / 13  # of natural images in the four bands, from low to high


def band_gains(factors: jax.Array) -> jax.Array:
    """`[4]`: gains of the four bands when each `t_i` of `factors [4]` amplifies its own band.

    Each in turn, normalised to keep the expected power: with t = 1 but for `t_i`,
    `g <- g t / sqrt(sum_j power_j t_j^2)`.
    """
    vectors = jnp.where(jnp.eye(4, dtype=bool), factors[None, :], 1.0)  # row i: t for band i
    norms = jnp.sqrt(jnp.sum(jnp.asarray(_POWER, vectors.dtype)[None, :] * vectors**2, axis=1, keepdims=True))
    return jnp.prod(vectors / norms, axis=0)


def filter_bands(images: jax.Array, gains: jax.Array) -> jax.Array:
    """Images `[B, H, W, C]` through the separable filter that has `gains [B, 4]` in its bands.

    Raises:
        ValueError: a side has 21 pixels or fewer, less than half the filter.
    """
    h, w = images.shape[1:3]
    if min(h, w) <= 21:
        raise ValueError(f"imgfilter needs images of more than 21 pixels a side, not {h} x {w}: set imgfilter=0")
    gains = lax.stop_gradient(gains).astype(images.dtype)
    exact = lax.Precision.HIGHEST
    down = jnp.einsum("bk,kij->bij", gains, jnp.asarray(band_filters(h), images.dtype), precision=exact)
    right = jnp.einsum("bk,kij->bij", gains, jnp.asarray(band_filters(w), images.dtype), precision=exact)
    return jnp.einsum("bph,bhwc,bqw->bpqc", down, images, right, precision=exact)


def add_noise(images: jax.Array, deviations: jax.Array, keys: Key) -> jax.Array:
    """Images `[B, H, W, C]` and white noise with a standard deviation `[B]` for each."""
    noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(keys)
    return images + lax.stop_gradient(deviations).astype(images.dtype)[:, None, None, None] * noise


def cut_box(images: jax.Array, centers: jax.Array, sizes: jax.Array) -> jax.Array:
    """Zeros in a box: centres `[B, 2]` (right, down) and sizes `[B]`, in shares of width and height."""

    def near(side: int, center: jax.Array) -> jax.Array:
        place = (jnp.arange(side) + 0.5) / side
        return jnp.abs(place[None, :] - center[:, None]) < sizes[:, None] / 2

    _, h, w, _ = images.shape
    box = near(h, centers[:, 1])[:, :, None] & near(w, centers[:, 0])[:, None, :]
    return jnp.where(box[..., None], jnp.zeros((), images.dtype), images)
