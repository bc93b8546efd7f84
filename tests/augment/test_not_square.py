"""Tests augmentations of images that are not square: closed forms, and the same content in a square image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.augment import differentiable
from gan_jax.augment.corruption import cut_box
from gan_jax.augment.geometry import Geometry, blit_inverse, inverse
from gan_jax.augment.sampling import blit, warp

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

H, W = 24, 16
IMAGE = np.random.default_rng(0).normal(size=(H, W, 1)).astype(np.float32)
WARP, BLIT = jax.jit(warp), jax.jit(blit)


def moved(g, image, copies=True):
    matrix = (blit_inverse if copies else inverse)(g, *image.shape[:2])
    return np.asarray((BLIT if copies else WARP)(jnp.asarray(image[None]), matrix[None]))[0]


def test_half_turns_flips_and_translations_of_pixels_are_exact():
    np.testing.assert_array_equal(moved(Geometry(turns=2), IMAGE), IMAGE[::-1, ::-1])
    np.testing.assert_array_equal(moved(Geometry(flip=1.0), IMAGE), IMAGE[:, ::-1])
    result = moved(Geometry(xint=(1 / 8, 1 / 8)), IMAGE)  # an eighth of each side: two right, three down
    np.testing.assert_array_equal(result[3:, 2:], IMAGE[:-3, :-2])


CENTRE = (slice(8, 16), slice(4, 12))  # a turn of it needs no pixel beyond the border, which is mirrored


def blob(height, width):
    """Returns a smooth blob in the centre, longer than wide, that ends before the image's border."""
    y, x = (np.arange(side) - (side - 1) / 2 for side in (height, width))
    y, x = y[:, None], x[None, :]
    shape = np.exp(-((y - 1) ** 2) / 4 - (x + 0.5) ** 2 / 2)
    return np.float32(shape * (np.abs(x) < 6) * (np.abs(y) < 6))[..., None]


@pytest.mark.parametrize("copies", [True, False], ids=["copied", "filtered"])
def test_a_quarter_turn_of_the_centre_is_that_of_a_square_image(copies):
    """A rotation in normalised coordinates would stretch the blob by H / W."""
    expected = moved(Geometry(turns=1), blob(24, 24), copies)[:, 4:-4][CENTRE]
    np.testing.assert_allclose(moved(Geometry(turns=1), blob(24, 16), copies)[CENTRE], expected, atol=1e-5)
    assert expected.max() > 0.5


@pytest.mark.parametrize(
    "g", [Geometry(before=0.6), Geometry(scale=1.1, after=-2.0), Geometry(aniso=0.9, before=1.0)]
)
def test_rotations_and_scales_of_the_centre_are_those_of_a_square_image(g):
    expected = moved(g, blob(24, 24), copies=False)[:, 4:-4][CENTRE]
    np.testing.assert_allclose(moved(g, blob(24, 16), copies=False)[CENTRE], expected, atol=1e-4)


def test_cutouts_are_fractions_of_each_side():
    cut = np.asarray(cut_box(jnp.ones((1, H, W, 1)), jnp.full((1, 2), 0.5), jnp.full((1,), 0.5)))[0, ..., 0]
    expected = np.ones((H, W))
    expected[H // 4 : -H // 4, W // 4 : -W // 4] = 0
    np.testing.assert_array_equal(cut, expected)
    half = np.asarray(differentiable.cutout(jnp.ones((H, W, 1)), H // 2, W // 2))[..., 0]
    np.testing.assert_array_equal(half, expected)
