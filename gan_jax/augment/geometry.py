"""ADA's geometric transformations: one 3 x 3 matrix per image. `sampling` applies them.

Coordinates are pixels right and down of the image's centre.

Karras et al., "Training generative adversarial networks with limited data", 2020, appendix B.
"""

import operator
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


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
