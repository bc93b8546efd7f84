"""What a projection minimises: a distance of images, and how unlikely the latent and the maps of noise are."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..metrics.features.perceptual import PerceptualNetwork
from ..types import Images, PyTree

_LARGEST = 256  # pixels of the smaller side: larger images are averaged down before features are computed
_SMALLEST_MAP = 8  # pixels of a side of a map of noise
_FLOOR = 1e-3  # of the variances of latents, as a share of the largest


def distance(
    images: Images, targets: Images, features: PerceptualNetwork | None, weight: float = 1.0
) -> jax.Array:
    """Returns the distance of each image from its target, `[B]`, of float images `[B, H, W, C]` in [-1, 1].

    It is the mean squared difference of pixels. With `features` it has a second part: `weight` times the mean over
    layers of the mean squared difference of the features, each vector of channels divided by its length. That is
    LPIPS without fitted weights.
    """
    pixels = jnp.mean((images - targets) ** 2, axis=(1, 2, 3))
    if features is None:
        return pixels
    both = _at_most(jnp.concatenate([images, targets]), _LARGEST)
    maps = [_unit(x) for x in features.maps(features.variables, both)]
    layers = [jnp.mean(jnp.sum((a - b) ** 2, axis=-1), axis=(1, 2)) for a, b in (jnp.split(x, 2) for x in maps)]
    return pixels + weight * sum(layers) / len(layers)


class Plausible(NamedTuple):
    """How far drawn latents are from their mean, in every direction in units of their own spread.

    Attributes:
        mean: `[D]`.
        whiten: `[D, D]`; a drawn latent minus the mean, times this, has unit variance in every direction.
        limit: what 99 of 100 drawn latents have at most as the mean square of that.
        spread: the root of the mean squared distance from the mean, sigma_w of Karras et al., 2020.
    """

    mean: np.ndarray
    whiten: np.ndarray
    limit: float
    spread: float

    @staticmethod
    def of(drawn: np.ndarray) -> "Plausible":
        """Measures drawn latents `[n, D]`. Where they hardly vary, their variance counts as a little larger."""
        mean = drawn.mean(axis=0)
        centred = (drawn - mean).astype(np.float64)
        variances, axes = np.linalg.eigh(centred.T @ centred / len(drawn))
        whiten = axes / np.sqrt(np.maximum(variances, _FLOOR * max(variances[-1], 1e-12)))
        squares = np.mean((centred @ whiten) ** 2, axis=1)
        spread = float(np.sqrt(np.mean(np.sum(centred**2, axis=1))))
        return Plausible(mean, whiten.astype(np.float32), float(np.quantile(squares, 0.99)), spread)

    def excess(self, latents: jax.Array) -> jax.Array:
        """Returns how implausible latents `[B, D]` or `[B, L, D]` are, `[B]`: 0 for 99 of 100 drawn ones.

        It is the square of max(0, s / limit - 1), with s the mean square of the whitened latent, and the mean over
        layers.
        """
        squares = jnp.mean(((latents - self.mean) @ self.whiten) ** 2, axis=-1)
        over = jnp.maximum(squares / self.limit - 1, 0.0) ** 2
        return over if over.ndim == 1 else jnp.mean(over, axis=1)


def correlation(noise: PyTree) -> jax.Array:
    """Returns how much neighbours in maps of noise `[B, h, w]` agree, `[B]`; independent numbers have almost none.

    Karras et al., "Analyzing and improving the image quality of StyleGAN", 2020, appendix D: the squared mean
    product of neighbours, across and down, at each resolution from the map's own down to 8 pixels, with a border
    that wraps. A map that is halved is doubled in value, and so keeps unit variance.
    """
    total = jnp.zeros(())
    for level in jax.tree.leaves(noise):
        while True:
            total += sum(jnp.mean(level * jnp.roll(level, 1, axis), axis=(1, 2)) ** 2 for axis in (1, 2))
            height, width = level.shape[1:]
            if min(height, width) <= _SMALLEST_MAP or height % 2 or width % 2:
                break
            level = 2 * level.reshape(-1, height // 2, 2, width // 2, 2).mean((2, 4))
    return total


def normalised(noise: PyTree) -> PyTree:
    """Returns maps of noise `[B, h, w]` with mean 0 and variance 1, each."""

    def one(x: jax.Array) -> jax.Array:
        centred = x - jnp.mean(x, axis=(1, 2), keepdims=True)
        return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=(1, 2), keepdims=True) + 1e-12)

    return jax.tree.map(one, noise)


def schedule(steps: int, rate: float) -> np.ndarray:
    """Returns the rate of each step: a linear rise in the first 5 %, a cosine fall to 0 in the last 25 %.

    Karras et al., 2020, appendix D.
    """
    t = (np.arange(steps) + 1) / (steps + 1)
    fall = 0.5 - 0.5 * np.cos(np.pi * np.minimum(1.0, (1 - t) / 0.25))
    return (rate * fall * np.minimum(1.0, t / 0.05)).astype(np.float32)


def shaking(steps: int) -> np.ndarray:
    """Returns the size of the noise that each step adds to the latent, as a share of the spread of latents.

    It is 0.05 s^2, where s falls from 1 to 0 in the first 75 % of the steps. Karras et al., 2020, appendix D.
    """
    return (0.05 * np.maximum(0.0, 1 - np.arange(steps) / max(1, steps) / 0.75) ** 2).astype(np.float32)


def _at_most(images: jax.Array, side: int) -> jax.Array:
    """Averages images down by a whole factor, if they are of twice `side` or more."""
    batch, height, width, channels = images.shape
    factor = min(height, width) // side
    if factor < 2 or height % factor or width % factor:
        return images
    return images.reshape(batch, height // factor, factor, width // factor, factor, channels).mean((2, 4))


def _unit(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-10)
