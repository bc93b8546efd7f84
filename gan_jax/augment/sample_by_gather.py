"""ADA's sampling by gathers of the pixels that each pixel of the result needs. CPUs and GPUs get this form."""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from .grid import along, fine_pixels, fine_position, pixel_at, pixels, sources
from .wavelets import downsampling, upsampling


def blit(images: jax.Array, inverses: jax.Array) -> jax.Array:
    """As `sampling.blit`."""
    _, h, w, _ = images.shape

    def transform_one(image: jax.Array, matrix: jax.Array) -> jax.Array:
        x, y = sources(matrix, pixels(h), pixels(w))
        return image[pixel_at(y, h), pixel_at(x, w)]

    return jax.vmap(transform_one)(images, inverses)


def warp(images: jax.Array, inverses: jax.Array) -> jax.Array:
    """As `sampling.warp`."""
    _, h, w, _ = images.shape
    up, right = upsampling(h), upsampling(w)
    # The even and odd rows and columns of the fine grid are images apart: see `_bilinear`.
    fine = [[along(images, up[i::2], right[j::2]) for j in (0, 1)] for i in (0, 1)]

    def transform_one(fine: list[list[jax.Array]], matrix: jax.Array) -> jax.Array:
        x, y = sources(matrix, fine_pixels(h, 2 * h + 10), fine_pixels(w, 2 * w + 10))
        return _bilinear(fine, fine_position(y, h), fine_position(x, w))

    return along(jax.vmap(transform_one)(fine, inverses), downsampling(h), downsampling(w))


def _bilinear(phases: list[list[jax.Array]], y: jax.Array, x: jax.Array) -> jax.Array:
    """Samples one periodic image at fractional indices `[n, m]`; returns `[n, m, C]`.

    XLA may compute a position twice, once for the index of a pixel and once for its weight, and round it in two
    ways. With floor(y) as the index and y - floor(y) as the weight, a y near a whole number then gives the wrong
    pixel. So here each position reads the nearest even and the nearest odd pixel: where one of them is replaced
    by the next, its weight is zero, and rounding changes the result by no more than rounding.

    Args:
        phases: `phases[i][j] [P, Q, C]` has the pixels of the rows 2 p + i and the columns 2 q + j of one period.
    """
    numbers = lax.GatherDimensionNumbers(offset_dims=(2,), collapsed_slice_dims=(0, 1), start_index_map=(0, 1))
    height, width, channels = phases[0][0].shape
    total = jnp.zeros((), phases[0][0].dtype)
    for (i, (row, below)), (j, (column, beside)) in itertools.product(
        enumerate(_nearest_even_and_odd(y)), enumerate(_nearest_even_and_odd(x))
    ):
        at = jnp.stack([row % height, column % width], -1)
        mode = lax.GatherScatterMode.PROMISE_IN_BOUNDS
        read = lax.gather(phases[i][j], at, numbers, (1, 1, channels), mode=mode)
        total = total + read * (below * beside).astype(read.dtype)[:, :, None]
    return total


def _nearest_even_and_odd(position: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
    """Returns k and the bilinear weight for the nearest even index 2 k and for the nearest odd index 2 k + 1."""
    even, odd = jnp.floor((position + 1) / 2), jnp.floor(position / 2)
    weight = jnp.abs(position - (2 * odd + 1))  # of the even pixel: its distance from the odd one
    return [(even.astype(int), weight), (odd.astype(int), 1 - weight)]
