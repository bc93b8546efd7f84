"""Applies a geometric transformation to each image: `blit` copies pixels, `warp` filters.

Differentiation treats the matrices as constants, so the result is linear in the images. A derivative of any order
is the sampling or its transpose. The form is chosen when it is lowered, for the platform that is compiled for.
"""

import jax
import jax.numpy as jnp

from ..ops.backend import formulations
from ..ops.linear import linear_primitive
from ..ops.vary import vary_alike
from . import sample_by_gather, sample_by_matmul


def blit(images: jax.Array, inverses: jax.Array) -> jax.Array:
    """Applies the matrices `[B, 3, 3]` of `blit_inverse` to images `[B, H, W, C]` by copying pixels, unfiltered.

    Images are mirrored beyond the border. A quarter turn of an image with one odd and one even side is off by half
    a pixel.

    Raises:
        ValueError: there is not one matrix for each image.
    """
    return _bind("blit", images, inverses)


def warp(images: jax.Array, inverses: jax.Array) -> jax.Array:
    """Applies the matrices `[B, 3, 3]` of `inverse` to images `[B, H, W, C]` with sides of 2 pixels or more.

    It upsamples by 2 with sym6, samples bilinearly, and downsamples with the same filter: `D S(matrix) U x`. ADA
    pads by reflection as much as the matrices of a batch need, by one image size at most. Here the reflection goes
    on without end, so shapes are static and no image depends on the others of its batch. The results differ only
    where the source is more than one image size outside.

    Raises:
        ValueError: a side has one pixel, or there is not one matrix for each image.
    """
    if min(images.shape[1:3]) < 2:
        raise ValueError(f"warp needs images with sides of 2 pixels or more, got {images.shape}")
    return _bind("warp", images, inverses)


def _bind(name: str, images: jax.Array, inverses: jax.Array) -> jax.Array:
    if inverses.shape != (images.shape[0], 3, 3):
        raise ValueError(f"{name} needs a matrix for each image, got {inverses.shape} for images {images.shape}")
    images, inverses = vary_alike(images, inverses)
    return _primitive.bind(images, inverses, name=name, transposed=False)


_FORMS = {
    "blit": {"gather": sample_by_gather.blit, "matmul": sample_by_matmul.blit},
    "warp": {"gather": sample_by_gather.warp, "matmul": sample_by_matmul.warp},
}


def compute(platform: str, images: jax.Array, inverses: jax.Array, *, name: str, transposed: bool) -> jax.Array:
    """Applies the transformation `name`, or its transpose, as `FORMULATIONS` says for the platform."""
    form = formulations(platform).sampling
    if max(images.shape[1:3]) > sample_by_matmul.LARGEST_SIDE:
        form = "gather"
    sample = _FORMS[name][form]
    if not transposed:
        return sample(images, inverses)
    zeros, images = vary_alike(jnp.zeros_like(images), images)
    return jax.vjp(lambda x: sample(x, inverses), zeros)[1](images)[0]


_primitive = linear_primitive("sample_images", compute, lambda images, **_: images.shape)
