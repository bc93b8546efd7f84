"""ADA's geometric transformations: one 3 x 3 matrix per image, and the resampling that applies it.

Coordinates are pixels right and down of the image's centre. Differentiation treats matrices as constants, so the
result is linear in the image.

Karras et al., "Training generative adversarial networks with limited data", 2020, appendix B.
"""

import itertools
import operator
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .wavelets import downsampling, mirrored, upsampling


class Geometry(NamedTuple):
    """The geometric parameters of one image, in the order in which they act; the defaults change nothing.

    Attributes:
        flip: 1 mirrors left to right.
        turns: the number of quarter turns, 0 to 3.
        xint: translation right and down, as fractions of width and height, rounded to whole pixels.
        scale: enlarges the image if above 1.
        before: the angle of a rotation before the stretch, in radians.
        aniso: stretches the width by this factor and the height by its inverse.
        after: the angle of a rotation after the stretch, in radians; both rotations together give it a direction.
        xfrac: translation right and down, as fractions of width and height, not rounded.
    """

    flip: ArrayLike = 0.0
    turns: ArrayLike = 0
    xint: tuple[ArrayLike, ArrayLike] = (0.0, 0.0)
    scale: ArrayLike = 1.0
    before: ArrayLike = 0.0
    aniso: ArrayLike = 1.0
    after: ArrayLike = 0.0
    xfrac: tuple[ArrayLike, ArrayLike] = (0.0, 0.0)


Rows = list[list[ArrayLike]]  # a 3 x 3 matrix, whose numbers are scalars


def _scaling(x: ArrayLike, y: ArrayLike) -> Rows:
    return [[x, 0, 0], [0, y, 0], [0, 0, 1]]


def _translation(x: ArrayLike, y: ArrayLike) -> Rows:
    return [[1, 0, x], [0, 1, y], [0, 0, 1]]


def _rotation(cos: jax.Array, sin: jax.Array) -> Rows:
    return [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]


def _product(matrices: list[Rows]) -> jax.Array:
    """Returns the product `[3, 3]`, number by number: one kernel of an accelerator, and exact float32 sums."""
    rows = reduce(lambda a, b: [[_sum_of_products(row, column) for column in zip(*b)] for row in a], matrices)
    return jnp.stack([jnp.stack([jnp.asarray(item, float) for item in row]) for row in rows])


def _sum_of_products(row: Sequence[ArrayLike], column: Sequence[ArrayLike]) -> ArrayLike:
    """Leaves out factors that are the integers 0 and 1."""
    terms = [
        b if _is(a, 1) else a if _is(b, 1) else a * b for a, b in zip(row, column) if not (_is(a, 0) or _is(b, 0))
    ]
    return reduce(operator.add, terms) if terms else 0


def _is(item: ArrayLike, number: int) -> bool:
    return isinstance(item, int) and item == number


def blit_inverse(g: Geometry, height: int, width: int) -> jax.Array:
    """Returns the matrix `[3, 3]` from a point of the result to its source, for flip, turns and xint only."""
    return _product(_blit_inverse(g, height, width))


def _blit_inverse(g: Geometry, height: int, width: int) -> list[Rows]:
    turns = jnp.asarray(g.turns, int)
    cos, sin = jnp.asarray([1.0, 0.0, -1.0, 0.0])[turns], jnp.asarray([0.0, 1.0, 0.0, -1.0])[turns]  # exact
    x, y = jnp.round(jnp.asarray(g.xint[0]) * width), jnp.round(jnp.asarray(g.xint[1]) * height)
    return [_scaling(1 - 2 * jnp.asarray(g.flip), 1), _rotation(cos, sin), _translation(-x, -y)]


def inverse(g: Geometry, height: int, width: int) -> jax.Array:
    """Returns the matrix `[3, 3]` from a point of the result to its source, for all of `g`.

    The transformation is `T_n ... T_1`, so its inverse is `inv(T_1) ... inv(T_n)`.
    """
    scale, aniso = jnp.asarray(g.scale), jnp.asarray(g.aniso)
    return _product([
        *_blit_inverse(g, height, width),
        _scaling(1 / scale, 1 / scale),
        _rotation(jnp.cos(g.before), jnp.sin(g.before)),
        _scaling(1 / aniso, aniso),
        _rotation(jnp.cos(g.after), jnp.sin(g.after)),
        _translation(-jnp.asarray(g.xfrac[0]) * width, -jnp.asarray(g.xfrac[1]) * height),
    ])  # fmt: skip


def blit(images: jax.Array, inverses: jax.Array) -> jax.Array:
    """Applies the matrices `[B, 3, 3]` of `blit_inverse` to images `[B, H, W, C]` by copying pixels, unfiltered.

    Images are mirrored beyond the border. A quarter turn of an image with one odd and one even side is off by half
    a pixel.
    """
    _, h, w, _ = images.shape

    def transform_one(image: jax.Array, matrix: jax.Array) -> jax.Array:
        x, y = _sources(matrix, jnp.arange(h) - (h - 1) / 2, jnp.arange(w) - (w - 1) / 2)
        rows = jnp.floor(y + (h - 1) / 2 + 0.5).astype(int)
        columns = jnp.floor(x + (w - 1) / 2 + 0.5).astype(int)
        return image[mirrored(rows, h), mirrored(columns, w)]

    return jax.vmap(transform_one)(images, lax.stop_gradient(inverses))


def warp(images: jax.Array, inverses: jax.Array) -> jax.Array:
    """Applies the matrices `[B, 3, 3]` of `inverse` to images `[B, H, W, C]` with sides of 2 pixels or more.

    It upsamples by 2 with sym6, samples bilinearly, and downsamples with the same filter: `D S(matrix) U x`. ADA
    pads by reflection as much as the matrices of a batch need, by one image size at most. Here the reflection goes
    on without end, so shapes are static and no image depends on the others of its batch. The results differ only
    where the source is more than one image size outside.
    """
    _, h, w, _ = images.shape
    up, right = upsampling(h), upsampling(w)
    # The fine grid has two pixels per coarse pixel; coarse pixel j is fine pixel 2 j. Its even and odd rows and
    # columns are images apart: see `_bilinear`.
    fine = [[_along(images, up[i::2], right[j::2]) for j in (0, 1)] for i in (0, 1)]
    rows = (jnp.arange(2 * h + 10) - 5) / 2 - (h - 1) / 2
    columns = (jnp.arange(2 * w + 10) - 5) / 2 - (w - 1) / 2

    def transform_one(fine: list[list[jax.Array]], matrix: jax.Array) -> jax.Array:
        x, y = _sources(matrix, rows, columns)
        return _bilinear(fine, 2 * y + (h - 1), 2 * x + (w - 1))

    return _along(jax.vmap(transform_one)(fine, lax.stop_gradient(inverses)), downsampling(h), downsampling(w))


def _sources(matrix: jax.Array, rows: jax.Array, columns: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the source coordinates x and y, each `[rows, columns]`, of the points of a grid."""
    x, y = columns[None, :], rows[:, None]
    return tuple(m[0] * x + m[1] * y + m[2] for m in matrix[:2])  # type: ignore[return-value]


def _along(images: jax.Array, down: ArrayLike, right: ArrayLike) -> jax.Array:
    """Multiplies each side by a matrix; on the CPU this is faster than sums of shifted images."""
    down, right = jnp.asarray(down, images.dtype), jnp.asarray(right, images.dtype)
    return jnp.einsum("ph,bhwc,qw->bpqc", down, images, right, precision=lax.Precision.HIGHEST)


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
        pixels = lax.gather(phases[i][j], at, numbers, (1, 1, channels), mode=mode)
        total = total + pixels * (below * beside).astype(pixels.dtype)[:, :, None]
    return total


def _nearest_even_and_odd(position: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
    """Returns k and the bilinear weight for the nearest even index 2 k and for the nearest odd index 2 k + 1."""
    even, odd = jnp.floor((position + 1) / 2), jnp.floor(position / 2)
    weight = jnp.abs(position - (2 * odd + 1))  # of the even pixel: its distance from the odd one
    return [(even.astype(int), weight), (odd.astype(int), 1 - weight)]
