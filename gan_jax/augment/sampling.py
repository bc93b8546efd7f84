"""Applies a geometric transformation to each image: `blit` copies pixels, `warp` filters.

Differentiation treats the matrices as constants, so the result is linear in the images. A derivative of any order
is the sampling or its transpose. The form is chosen when it is lowered, for the platform that is compiled for.
"""

import jax
import jax.numpy as jnp

from ..ops.backend import default_platform
from ..ops.linear import linear_primitive
from ..ops.vary import vary_alike
from . import by_gathers, by_products


def blit(images: jax.Array, inverses: jax.Array) -> jax.Array:
    """Applies the matrices `[B, 3, 3]` of `blit_inverse` to images `[B, H, W, C]` by copying pixels, unfiltered.

    Images are mirrored beyond the border. A quarter turn of an image with one odd and one even side is off by half
    a pixel.
    """
    return _bind("blit", images, inverses)


def warp(images: jax.Array, inverses: jax.Array) -> jax.Array:
    """Applies the matrices `[B, 3, 3]` of `inverse` to images `[B, H, W, C]` with sides of 2 pixels or more.

    It upsamples by 2 with sym6, samples bilinearly, and downsamples with the same filter: `D S(matrix) U x`. ADA
    pads by reflection as much as the matrices of a batch need, by one image size at most. Here the reflection goes
    on without end, so shapes are static and no image depends on the others of its batch. The results differ only
    where the source is more than one image size outside.
    """
    return _bind("warp", images, inverses)


def _bind(name: str, images: jax.Array, inverses: jax.Array) -> jax.Array:
    images, inverses = vary_alike(images, inverses)
    return _primitive.bind(images, inverses, name=name, transposed=False)


def compute(platform: str, images: jax.Array, inverses: jax.Array, *, name: str, transposed: bool) -> jax.Array:
    """Applies the sampling `name`, or its transpose, in the form for the platform."""
    small = max(images.shape[1:3]) <= by_products.LARGEST_SIDE
    sampling = getattr(by_products if platform == "tpu" and small else by_gathers, name)
    if not transposed:
        return sampling(images, inverses)
    zeros, images = vary_alike(jnp.zeros_like(images), images)
    return jax.vjp(lambda x: sampling(x, inverses), zeros)[1](images)[0]


_primitive = linear_primitive("sample_images", compute, lambda images, **_: images.shape)


@_primitive.def_impl
def _compute_now(images: jax.Array, inverses: jax.Array, *, name: str, transposed: bool) -> jax.Array:
    return compute(default_platform(), images, inverses, name=name, transposed=transposed)
