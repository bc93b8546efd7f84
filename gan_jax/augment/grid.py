"""The pixels of an image and of ADA's fine grid, and products along the sides of images."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .wavelets import mirrored


def pixels(side: int) -> jax.Array:
    """Returns the coordinates `[side]` of the pixels along a side."""
    return jnp.arange(side) - (side - 1) / 2


def pixel_at(coordinate: jax.Array, side: int) -> jax.Array:
    """Returns the number of the pixel that contains a coordinate; beyond the border it is mirrored."""
    return mirrored(jnp.floor(coordinate + (side - 1) / 2 + 0.5).astype(int), side)


def fine_pixels(side: int, count: int) -> jax.Array:
    """Returns the coordinates `[count]` of the fine grid along a side of `side` pixels.

    It has two pixels for each pixel of the image, and begins five of them before the first one.
    """
    return (jnp.arange(count) - 5) / 2 - (side - 1) / 2


def fine_position(coordinate: jax.Array, side: int) -> jax.Array:
    """Returns the position of a coordinate on the fine grid: pixel j of the image has position 2 j."""
    return 2 * coordinate + (side - 1)


def sources(matrix: jax.Array, rows: jax.Array, columns: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the source coordinates x and y, each `[rows, columns]`, of the points of a grid."""
    x, y = columns[None, :], rows[:, None]
    return tuple(m[0] * x + m[1] * y + m[2] for m in matrix[:2])  # type: ignore[return-value]


def along(images: jax.Array, down: ArrayLike, right: ArrayLike) -> jax.Array:
    """Multiplies each side by a matrix; on the CPU this is faster than sums of shifted images."""
    down, right = jnp.asarray(down, images.dtype), jnp.asarray(right, images.dtype)
    return jnp.einsum("ph,bhwc,qw->bpqc", down, images, right, precision=lax.Precision.HIGHEST)
