"""ADA's colour transformations: one affine map of RGB an image, as a 4x4 matrix.

Karras et al., "Training generative adversarial networks with limited data", 2020, appendix B.2.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_LUMA = np.ones((3, 3)) / 3  # v v^T of the luma axis v = (1, 1, 1) / sqrt(3)
_CROSS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5  # K with K x = v cross x


class Color(NamedTuple):
    """Parameters for one image, in the order in which they act; by default nothing changes.

    Attributes:
        brightness: added to every channel.
        contrast: factor of every channel.
        lumaflip: 1 reflects the luma axis and keeps hue and saturation.
        hue: radians about the luma axis.
        saturation: factor of the distance from the luma axis.
    """

    brightness: Any = 0.0
    contrast: Any = 1.0
    lumaflip: Any = 0.0
    hue: Any = 0.0
    saturation: Any = 1.0


def color_matrix(c: Color) -> jax.Array:
    """`[4, 4]`, acting on `[r, g, b, 1]`.

    Brightness translates by b, contrast scales; then with `P = v v^T`, the projection on the luma axis:
    lumaflip `I - 2 P`, hue `cos I + sin K + (1 - cos) P` (Rodrigues), saturation `P + s (I - P)`.
    """
    eye, luma, cross = (jnp.asarray(m, float) for m in (np.eye(3), _LUMA, _CROSS))
    cos, sin = jnp.cos(c.hue), jnp.sin(c.hue)
    # All three commute and share their axis: on it they are +-1, beside it a rotation times the saturation.
    linear = (1 - 2 * jnp.asarray(c.lumaflip)) * luma + c.saturation * (cos * (eye - luma) + sin * cross)
    linear = jnp.asarray(c.contrast) * linear
    # A grey is on the axis: it is only scaled and reflected. In closed form, as a product may lack precision.
    offset = jnp.asarray(c.contrast) * (1 - 2 * jnp.asarray(c.lumaflip)) * c.brightness
    top = jnp.concatenate([linear, jnp.full((3, 1), offset, linear.dtype)], axis=1)
    return jnp.concatenate([top, jnp.asarray([[0.0, 0.0, 0.0, 1.0]], top.dtype)])


def recolor(images: jax.Array, matrices: jax.Array) -> jax.Array:
    """Images `[B, H, W, C]` by `[B, 4, 4]`; C is 3, or 1: grey to the matrix, and its answer's mean."""
    matrices = lax.stop_gradient(matrices).astype(images.dtype)
    linear, offset = matrices[:, :3, :3], matrices[:, None, None, :3, 3]
    if images.shape[3] == 1:
        gain = jnp.mean(jnp.sum(linear, axis=2), axis=1)[:, None, None, None]
        return gain * images + jnp.mean(offset, axis=3, keepdims=True)
    parts = [images[..., i : i + 1] * linear[:, None, None, :, i] for i in range(3)]
    return parts[0] + parts[1] + parts[2] + offset
