"""ADA's sampling by matrix products. TPUs get this form for small images.

A TPU gathers one pixel after the other. It computes the derivative of a gather by sorting the positions of all
pixels of the batch, and the program that sorts takes long to compile. Products of an image with the weights of its
rows and columns, nearly all of them zeros, are what it is fast at. Their number grows with the fourth power of the
side.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .grid import along, fine_pixels, fine_position, pixel_at, pixels, sources
from .wavelets import downsampling, upsampling

# In pixels. At 64 the products are a fifth of the arithmetic of `ffhq64_r3gan` on a TPU, by its program
# (docs/accelerators.md). At 128 they would be 16 times as much.
LARGEST_SIDE = 64

_EXACT = lax.Precision.HIGHEST
_Weights = Callable[[jax.Array, int], jax.Array]


def blit(images: jax.Array, inverses: jax.Array) -> jax.Array:
    """As `sampling.blit`."""
    _, h, w, _ = images.shape

    def weights(coordinate: jax.Array, side: int) -> jax.Array:
        return (pixel_at(coordinate, side)[:, None] == jnp.arange(side)[None]).astype(images.dtype)

    return _sample(images, inverses, pixels(h), pixels(w), weights)


def warp(images: jax.Array, inverses: jax.Array) -> jax.Array:
    """As `sampling.warp`."""
    _, h, w, _ = images.shape
    # The fine grid is padded to a multiple of 8. For other sizes the TPU's compiler may take seconds a product.
    down, right = (_to_eights(downsampling(n), 1) for n in (h, w))

    def weights(coordinate: jax.Array, side: int) -> jax.Array:
        up = _to_eights(upsampling(side), 0)
        fine = _hat(fine_position(coordinate, side), 4 * (side - 1), len(up)).astype(images.dtype)
        return jnp.dot(fine, jnp.asarray(up, images.dtype), precision=_EXACT)

    sampled = _sample(images, inverses, fine_pixels(h, down.shape[1]), fine_pixels(w, right.shape[1]), weights)
    return along(sampled, down, right)


def _sample(
    images: jax.Array, inverses: jax.Array, rows: jax.Array, columns: jax.Array, weights: _Weights
) -> jax.Array:
    """Samples each image at the points that its matrix maps the points of a grid to.

    One row of the grid is computed at a time. The derivative computes the weights anew, so none are kept.

    Args:
        images: `[B, H, W, C]`.
        inverses: the matrices `[B, 3, 3]`.
        rows: `[n]`, the vertical coordinates of the grid.
        columns: `[m]`, its horizontal coordinates.
        weights: takes the vertical (or horizontal) coordinates `[m]` of points, and H (or W); returns the weights
            of the image's rows (or columns) at these points, `[m, H]` (or `[m, W]`).

    Returns:
        `[B, n, m, C]`.
    """
    _, height, width, _ = images.shape
    channels_first = jnp.moveaxis(images, -1, 1)

    def weigh(matrix: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        source_x, source_y = (of_row[0] for of_row in sources(matrix, y[None], columns))
        return weights(source_y, height), weights(source_x, width)

    @jax.checkpoint
    def one_row(y: jax.Array) -> jax.Array:
        of_rows, of_columns = jax.vmap(weigh, (0, None))(inverses, y)  # [B, m, H], [B, m, W]
        across = jnp.einsum("bmw,bchw->bmch", of_columns, channels_first, precision=_EXACT)
        return jnp.sum(across * of_rows[:, :, None], -1)

    return jnp.moveaxis(lax.map(one_row, rows), 0, 1)


def _hat(position: jax.Array, period: int, count: int) -> jax.Array:
    """Returns the weights `[m, count]` of linear interpolation on a periodic line; 0 beyond its first period."""
    numbers = jnp.arange(count)[None]
    distance = jnp.abs((position % period)[:, None] - numbers)
    nearest = jnp.minimum(distance, period - distance)
    return jnp.where(numbers < period, jnp.maximum(1 - nearest, 0), 0)


def _to_eights(matrix: np.ndarray, axis: int) -> np.ndarray:
    """Appends zeros up to the next multiple of 8."""
    return np.pad(matrix, [(0, -size % 8 if i == axis else 0) for i, size in enumerate(matrix.shape)])
