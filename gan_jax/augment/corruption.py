"""ADA's image-space corruptions: amplified frequency bands, noise and cutout.

Karras et al., "Training generative adversarial networks with limited data", 2020, appendix B.3 and B.4.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..types import Key
from .wavelets import band_filters

_POWER = np.array([10.0, 1.0, 1.0, 1.0]) / 13  # the power of natural images in each band, from low to high


def band_gains(factors: jax.Array) -> jax.Array:
    """Returns the gains `[4]` of the four bands, where each `t_i` of `factors [4]` amplifies its own band.

    The factors act one after the other, each normalised to keep the expected power: with t = 1 except for `t_i`,
    `g <- g t / sqrt(sum_j power_j t_j^2)`.
    """
    vectors = jnp.where(jnp.eye(4, dtype=bool), factors[None, :], 1.0)  # row i is the t of band i
    norms = jnp.sqrt(jnp.sum(jnp.asarray(_POWER, vectors.dtype)[None, :] * vectors**2, axis=1, keepdims=True))
    return jnp.prod(vectors / norms, axis=0)


def filter_bands(images: jax.Array, gains: jax.Array) -> jax.Array:
    """Filters images `[B, H, W, C]` so that the four bands have the gains `[B, 4]`; the filter is separable.

    Raises:
        ValueError: a side has 21 pixels or fewer, which is less than half the filter.
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
    """Adds white noise to images `[B, H, W, C]`, with the standard deviations `[B]`."""
    noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(keys)
    return images + lax.stop_gradient(deviations).astype(images.dtype)[:, None, None, None] * noise


def cut_box(images: jax.Array, centers: jax.Array, sizes: jax.Array) -> jax.Array:
    """Sets a box of each image to zero.

    Args:
        images: `[B, H, W, C]`.
        centers: `[B, 2]` (right, down), as fractions of width and height.
        sizes: `[B]`, as fractions of each side.
    """

    def inside(side: int, center: jax.Array) -> jax.Array:
        # A constant, because XLA may multiply by a rounded 1 / side: a pixel would then be cut under jit only.
        position = jnp.asarray((np.arange(side) + 0.5) / side, centers.dtype)
        return jnp.abs(position[None, :] - center[:, None]) < sizes[:, None] / 2

    _, h, w, _ = images.shape
    box = inside(h, centers[:, 1])[:, :, None] & inside(w, centers[:, 0])[:, None, :]
    return jnp.where(box[..., None], jnp.zeros((), images.dtype), images)
