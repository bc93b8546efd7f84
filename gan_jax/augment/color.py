"""ADA's colour transformations: one affine map of RGB per image, as a 4 x 4 matrix.

Karras et al., "Training generative adversarial networks with limited data", 2020, appendix B.2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

_LUMA = np.ones((3, 3)) / 3  # v v^T of the luma axis v = (1, 1, 1) / sqrt(3)
_CROSS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5  # K with K x = v cross x


class Color(NamedTuple):
    """The colour parameters of one image, in the order in which they act; the defaults change nothing.

    Attributes:
        brightness: is added to every channel.
        contrast: multiplies every channel.
        lumaflip: 1 reflects the luma axis, which keeps hue and saturation.
        hue: the angle of a rotation about the luma axis, in radians.
        saturation: multiplies the distance from the luma axis.
    """

    brightness: ArrayLike = 0.0
    contrast: ArrayLike = 1.0
    lumaflip: ArrayLike = 0.0
    hue: ArrayLike = 0.0
    saturation: ArrayLike = 1.0


def color_matrix(c: Color) -> jax.Array:
    """Returns the matrix `[4, 4]` that acts on `[r, g, b, 1]`.

    Brightness translates and contrast scales. The others use `P = v v^T`, the projection on the luma axis v:
    lumaflip is `I - 2 P`, hue `cos I + sin K + (1 - cos) P` (Rodrigues), saturation `P + s (I - P)`.
    """
    eye, luma, cross = (jnp.asarray(m, float) for m in (np.eye(3), _LUMA, _CROSS))
    cos, sin = jnp.cos(c.hue), jnp.sin(c.hue)
    # These three commute: along the luma axis they are +-1, across it a rotation times the saturation.
    linear = (1 - 2 * jnp.asarray(c.lumaflip)) * luma + c.saturation * (cos * (eye - luma) + sin * cross)
    linear = jnp.asarray(c.contrast) * linear
    # Brightness is grey, so it lies on the luma axis and is only scaled and reflected. The closed form avoids a
    # matrix product, which a platform may compute with less precision.
    offset = jnp.asarray(c.contrast) * (1 - 2 * jnp.asarray(c.lumaflip)) * c.brightness
    top = jnp.concatenate([linear, jnp.full((3, 1), offset, linear.dtype)], axis=1)
    return jnp.concatenate([top, jnp.asarray([[0.0, 0.0, 0.0, 1.0]], top.dtype)])


def recolor(images: jax.Array, matrices: jax.Array) -> jax.Array:
    """Applies matrices `[B, 4, 4]` to images `[B, H, W, C]`.

    C is 3 or 1. A grey image is treated as three equal channels, and the result is their mean.
    """
    matrices = lax.stop_gradient(matrices).astype(images.dtype)
    linear, offset = matrices[:, :3, :3], matrices[:, None, None, :3, 3]
    if images.shape[3] == 1:
        gain = jnp.mean(jnp.sum(linear, axis=2), axis=1)[:, None, None, None]
        return gain * images + jnp.mean(offset, axis=3, keepdims=True)
    parts = [images[..., i : i + 1] * linear[:, None, None, :, i] for i in range(3)]
    return parts[0] + parts[1] + parts[2] + offset
