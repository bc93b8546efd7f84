"""ADA's geometric transformations: one 3x3 matrix an image, and the resampling that carries it out.

Coordinates are pixels right and down of the image's centre. Matrices are constants to differentiation: the result
is linear in the image. Karras et al., "Training generative adversarial networks with limited data", 2020, app. B.
"""

import itertools
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .wavelets import downsampling, mirrored, upsampling


class Geometry(NamedTuple):
    """Parameters for one image, in the order in which they act; by default nothing moves.

    Attributes:
        flip: 1 mirrors left to right.
        turns: quarter turns, 0 to 3.
        xint: right and down, in shares of width and height, rounded to whole pixels.
        scale: above 1 enlarges.
        before: radians.
        aniso: stretches the width by it, and the height by 1 over it.
        after: radians; a rotation on each side of the stretch gives it a direction.
        xfrac: right and down, in shares of width and height.
    """

    flip: Any = 0.0
    turns: Any = 0
    xint: Any = (0.0, 0.0)
    scale: Any = 1.0
    before: Any = 0.0
    aniso: Any = 1.0
    after: Any = 0.0
    xfrac: Any = (0.0, 0.0)


def _matrix(rows: list[list[Any]]) -> jax.Array:
    return jnp.stack([jnp.stack([jnp.asarray(item, float) for item in row]) for row in rows])


def _scaling(x: Any, y: Any) -> jax.Array:
    return _matrix([[x, 0, 0], [0, y, 0], [0, 0, 1]])


def _translation(x: Any, y: Any) -> jax.Array:
    return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]])


def _rotation(cos: Any, sin: Any) -> jax.Array:
    return _matrix([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def _product(matrices: list[jax.Array]) -> jax.Array:
    return reduce(lambda a, b: jnp.matmul(a, b, precision=lax.Precision.HIGHEST), matrices)


def blit_inverse(g: Geometry, height: int, width: int) -> jax.Array:
    """`[3, 3]`, from a place in the result to its source: flip, quarter turns and whole pixels."""
    turns = jnp.asarray(g.turns, int)
    cos, sin = jnp.asarray([1.0, 0.0, -1.0, 0.0])[turns], jnp.asarray([0.0, 1.0, 0.0, -1.0])[turns]  # exact
    x, y = jnp.round(jnp.asarray(g.xint[0]) * width), jnp.round(jnp.asarray(g.xint[1]) * height)
    return _product([_scaling(1 - 2 * jnp.asarray(g.flip), 1.0), _rotation(cos, sin), _translation(-x, -y)])


def inverse(g: Geometry, height: int, width: int) -> jax.Array:
    """`[3, 3]`, from a place in the result to its source: all of `g`.

    The transformation is `T_n ... T_1`, so that its inverse is `inv(T_1) ... inv(T_n)`.
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
    """Images `[B, H, W, C]` by the matrices `[B, 3, 3]` of `blit_inverse`: pixels are copied, none is filtered.

    Beyond the border there is a mirror. Quarter turns of an image with one odd and one even side are half a
    pixel off.
    """
    _, h, w, _ = images.shape

    def one(image: jax.Array, matrix: jax.Array) -> jax.Array:
        x, y = _sources(matrix, jnp.arange(h) - (h - 1) / 2, jnp.arange(w) - (w - 1) / 2)
        rows = jnp.floor(y + (h - 1) / 2 + 0.5).astype(int)
        columns = jnp.floor(x + (w - 1) / 2 + 0.5).astype(int)
        return image[mirrored(rows, h), mirrored(columns, w)]

    return jax.vmap(one)(images, lax.stop_gradient(inverses))


def warp(images: jax.Array, inverses: jax.Array) -> jax.Array:
    """Images `[B, H, W, C]`, sides of 2 or more, by the matrices `[B, 3, 3]` of `inverse`.

    Upsampling by 2 with sym6, bilinear sampling, downsampling with the same filter: `D S(matrix) U x`. ADA pads
    with as much reflection as the matrices of a batch need, a whole image at most; here the mirror has no end, so
    shapes are static and no image depends on its neighbours. The two differ more than an image outside.
    """
    _, h, w, _ = images.shape
    fine = _along(images, upsampling(h), upsampling(w))
    fine = jnp.pad(fine, [(0, 0), (0, 1), (0, 1), (0, 0)], mode="wrap")  # so that a window of 2 x 2 is whole
    # Two fine pixels are one coarse pixel, and pixel j is at 2 j.
    rows = (jnp.arange(2 * h + 10) - 5) / 2 - (h - 1) / 2
    columns = (jnp.arange(2 * w + 10) - 5) / 2 - (w - 1) / 2

    def one(image: jax.Array, matrix: jax.Array) -> jax.Array:
        x, y = _sources(matrix, rows, columns)
        return _bilinear(image, 2 * y + (h - 1), 2 * x + (w - 1))

    return _along(jax.vmap(one)(fine, lax.stop_gradient(inverses)), downsampling(h), downsampling(w))


def _sources(matrix: jax.Array, rows: jax.Array, columns: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x and y `[rows, columns]` of where the places on a grid come from."""
    x, y = columns[None, :], rows[:, None]
    return tuple(m[0] * x + m[1] * y + m[2] for m in matrix[:2])  # type: ignore[return-value]


def _along(images: jax.Array, down: Any, right: Any) -> jax.Array:
    """A matrix along each side. As products of matrices they are faster than shifted sums on the CPU."""
    down, right = jnp.asarray(down, images.dtype), jnp.asarray(right, images.dtype)
    return jnp.einsum("ph,bhwc,qw->bpqc", down, images, right, precision=lax.Precision.HIGHEST)


def _bilinear(image: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
    """One image `[P + 1, Q + 1, C]` of period P, Q at fractional indices `[n, m]`: `[n, m, C]`.

    A window of 2 x 2 pixels is gathered whole: its transpose adds a window at a time, the slow part of a gradient.
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
