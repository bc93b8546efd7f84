"""ADA's pipeline: draws the random parameters of every image, and applies the operations in order."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..types import Images, Key
from .color import Color, color_matrix, recolor
from .corruption import add_noise, band_gains, cut_box, filter_bands
from .geometry import Geometry, blit_inverse, inverse
from .sampling import blit, warp


class Strengths(NamedTuple):
    """The factor of each operation's probability, from 0 (off) to 1."""

    xflip: float = 0.0
    rotate90: float = 0.0
    xint: float = 0.0
    scale: float = 0.0
    rotate: float = 0.0
    aniso: float = 0.0
    xfrac: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    lumaflip: float = 0.0
    hue: float = 0.0
    saturation: float = 0.0
    imgfilter: float = 0.0
    noise: float = 0.0
    cutout: float = 0.0


class Parameters(NamedTuple):
    """The parameters of one image.

    Attributes:
        bands: the factors `[4]` of the frequency bands.
        noise: the standard deviation of the noise.
        center, size: the cutout box.
    """

    geometry: Geometry
    color: Color
    bands: jax.Array
    noise: jax.Array
    center: jax.Array
    size: jax.Array


def draw(key: Key, p: jax.Array, s: Strengths) -> Parameters:
    """Draws the parameters of one image: each operation acts with probability `p` times its strength.

    All numbers are always drawn, so an operation's draws do not depend on which others are on. Each of the two
    rotations acts with probability `1 - sqrt(1 - p)`, so at least one of them acts with probability p.
    """
    gates, uniform = jax.random.uniform(jax.random.fold_in(key, 0), (2, 20))
    normal = jax.random.normal(jax.random.fold_in(key, 1), (16,))

    def gate(i: int, probability, value, neutral):
        return jnp.where(gates[i] < probability, value, neutral)

    def lognormal(i: int, octaves: float) -> jax.Array:
        return jnp.exp(normal[i] * octaves * math.log(2))

    def angle(i: int) -> jax.Array:
        return (2 * uniform[i] - 1) * math.pi

    def pair(values: jax.Array, i: int, probability: jax.Array) -> tuple[jax.Array, jax.Array]:
        return gate(i, probability, values[0], 0.0), gate(i, probability, values[1], 0.0)

    turn = 1 - jnp.sqrt(jnp.clip(1 - s.rotate * p, 0.0, 1.0))
    geometry = Geometry(
        flip=gate(0, s.xflip * p, jnp.floor(2 * uniform[0]), 0.0),
        turns=gate(1, s.rotate90 * p, jnp.floor(4 * uniform[1]).astype(int), 0),
        xint=pair((2 * uniform[2:4] - 1) / 8, 2, s.xint * p),
        scale=gate(3, s.scale * p, lognormal(0, 0.2), 1.0),
        before=gate(4, turn, angle(4), 0.0),
        aniso=gate(5, s.aniso * p, lognormal(1, 0.2), 1.0),
        after=gate(6, turn, angle(5), 0.0),
        xfrac=pair(normal[2:4] / 8, 7, s.xfrac * p),
    )
    color = Color(
        brightness=gate(8, s.brightness * p, 0.2 * normal[4], 0.0),
        contrast=gate(9, s.contrast * p, lognormal(5, 0.5), 1.0),
        lumaflip=gate(10, s.lumaflip * p, jnp.floor(2 * uniform[6]), 0.0),
        hue=gate(11, s.hue * p, angle(7), 0.0),
        saturation=gate(12, s.saturation * p, lognormal(6, 1.0), 1.0),
    )
    return Parameters(
        geometry,
        color,
        bands=jnp.stack([gate(13 + i, s.imgfilter * p, lognormal(7 + i, 1.0), 1.0) for i in range(4)]),
        noise=gate(17, s.noise * p, 0.1 * jnp.abs(normal[11]), 0.0),
        center=uniform[8:10],
        size=gate(18, s.cutout * p, 0.5, 0.0),
    )


def apply_pipeline(images: Images, keys: Key, p: jax.Array, s: Strengths) -> Images:
    """Applies the operations whose strength is above 0 to images `[B, H, W, C]`.

    A policy whose only geometric operations are `xflip`, `rotate90` and `xint` copies pixels; ADA filters them.
    """
    _, h, w, _ = images.shape
    drawn = lax.stop_gradient(jax.vmap(lambda key: draw(key, p, s))(keys))
    if s.scale or s.rotate or s.aniso or s.xfrac:
        images = warp(images, jax.vmap(lambda g: inverse(g, h, w))(drawn.geometry))
    elif s.xflip or s.rotate90 or s.xint:
        images = blit(images, jax.vmap(lambda g: blit_inverse(g, h, w))(drawn.geometry))
    if s.brightness or s.contrast or s.lumaflip or s.hue or s.saturation:
        images = recolor(images, jax.vmap(color_matrix)(drawn.color))
    if s.imgfilter:
        images = filter_bands(images, jax.vmap(band_gains)(drawn.bands))
    if s.noise:
        images = add_noise(images, drawn.noise, jax.vmap(lambda key: jax.random.fold_in(key, 2))(keys))
    if s.cutout:
        images = cut_box(images, drawn.center, drawn.size)
    return images
