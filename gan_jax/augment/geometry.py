"""ADA's geometric transformations: one 3 x 3 matrix per image, and the resampling that applies it.

Coordinates are pixels right and down of the image's centre. Differentiation treats matrices as constants, so the
result is linear in the image.

Karras et al., "Training generative adversarial networks with limited data", 2020, appendix B.
"""

import itertools
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


def _matrix(rows: list[list[ArrayLike]]) -> jax.Array:
    return jnp.stack([jnp.stack([jnp.asarray(item, float) for item in row]) for row in rows])


def _scaling(x: ArrayLike, y: ArrayLike) -> jax.Array:
    return _matrix([[x, 0, 0], [0, y, 0], [0, 0, 1]])


def _translation(x: ArrayLike, y: ArrayLike) -> jax.Array:
    return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]])


def _rotation(cos: jax.Array, sin: jax.Array) -> jax.Array:
    return _matrix([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def _product(matrices: list[jax.Array]) -> jax.Array:
    return reduce(lambda a, b: jnp.matmul(a, b, precision=lax.Precision.HIGHEST), matrices)


def blit_inverse(g: Geometry, height: int, width: int) -> jax.Array:
    """Returns the matrix `[3, 3]` from a point of the result to its source, for flip, turns and xint only."""
    turns = jnp.asarray(g.turns, int)
    cos, sin = jnp.asarray([1.0, 0.0, -1.0, 0.0])[turns], jnp.asarray([0.0, 1.0, 0.0, -1.0])[turns]  # exact
    x, y = jnp.round(jnp.asarray(g.xint[0]) * width), jnp.round(jnp.asarray(g.xint[1]) * height)
    return _product([_scaling(1 - 2 * jnp.asarray(g.flip), 1.0), _rotation(cos, sin), _translation(-x, -y)])


def inverse(g: Geometry, height: int, width: int) -> jax.Array:
    """Returns the matrix `[3, 3]` from a point of the result to its source, for all of `g`.

    The transformation is `T_n ... T_1`, so its inverse is `inv(T_1) ... inv(T_n)`.
    """
    scale, aniso = jnp.asarray(g.scale), jnp.asarray(g.aniso)
    return _product([
        blit_inverse(g, height, width),
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
    fine = _along(images, upsampling(h), upsampling(w))
    fine = jnp.pad(fine, [(0, 0), (0, 1), (0, 1), (0, 0)], mode="wrap")  # completes the last 2 x 2 windows
    # The fine grid has two pixels per coarse pixel; coarse pixel j is fine pixel 2 j.
    rows = (jnp.arange(2 * h + 10) - 5) / 2 - (h - 1) / 2
    columns = (jnp.arange(2 * w + 10) - 5) / 2 - (w - 1) / 2

    def transform_one(image: jax.Array, matrix: jax.Array) -> jax.Array:
        x, y = _sources(matrix, rows, columns)
        return _bilinear(image, 2 * y + (h - 1), 2 * x + (w - 1))

    return _along(jax.vmap(transform_one)(fine, lax.stop_gradient(inverses)), downsampling(h), downsampling(w))


def _sources(matrix: jax.Array, rows: jax.Array, columns: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the source coordinates x and y, each `[rows, columns]`, of the points of a grid."""
    x, y = columns[None, :], rows[:, None]
    return tuple(m[0] * x + m[1] * y + m[2] for m in matrix[:2])  # type: ignore[return-value]


def _along(images: jax.Array, down: ArrayLike, right: ArrayLike) -> jax.Array:
    """Multiplies each side by a matrix; on the CPU this is faster than sums of shifted images."""
    down, right = jnp.asarray(down, images.dtype), jnp.asarray(right, images.dtype)
    return jnp.einsum("ph,bhwc,qw->bpqc", down, images, right, precision=lax.Precision.HIGHEST)


def _bilinear(image: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
    """Samples one image `[P + 1, Q + 1, C]` with period P, Q at fractional indices `[n, m]`; returns `[n, m, C]`.

    It gathers whole windows of 2 x 2 pixels: the transpose, which is the slow part of the gradient, then also adds
    whole windows.
    """
    top, left = jnp.floor(y), jnp.floor(x)
    below, beside = y - top, x - left
    at = jnp.stack([top.astype(int) % (image.shape[0] - 1), left.astype(int) % (image.shape[1] - 1)], -1)
    numbers = lax.GatherDimensionNumbers(offset_dims=(2, 3, 4), collapsed_slice_dims=(), start_index_map=(0, 1))
    windows = lax.gather(image, at, numbers, (2, 2, image.shape[2]), mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS)
    total = jnp.zeros((), image.dtype)
    for i, j in itertools.product((0, 1), (0, 1)):
        weight = (below if i else 1 - below) * (beside if j else 1 - beside)
        total = total + windows[:, :, i, j] * weight.astype(image.dtype)[:, :, None]
    return total
