"""Compares DiffAugment's operations with NumPy, for the same parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import augment
from gan_jax.augment import differentiable as ops

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

KEYS = jax.random.split(jax.random.key(3), 64)
IMAGES = jax.random.normal(jax.random.key(4), (64, 8, 7, 3))
IMAGE = IMAGES[0]


def test_colors():
    x = np.asarray(IMAGE, np.float64)
    pixel = x.mean(axis=2, keepdims=True)
    np.testing.assert_allclose(ops.brightness(IMAGE, 0.3), x + 0.3, atol=1e-6)
    np.testing.assert_allclose(ops.saturation(IMAGE, 1.7), (x - pixel) * 1.7 + pixel, atol=1e-6)
    np.testing.assert_allclose(ops.contrast(IMAGE, 0.6), (x - x.mean()) * 0.6 + x.mean(), atol=1e-6)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 1), (-1, 0), (1, -1)])
def test_translation_fills_with_zeros(down, right):
    padded = np.pad(np.asarray(IMAGE), [(1, 1), (1, 1), (0, 0)])
    expected = np.roll(padded, (down, right), (0, 1))[1:-1, 1:-1]
    np.testing.assert_array_equal(ops.translation(IMAGE, down, right), expected)
    assert ops.shifts(IMAGE.shape, 1 / 8) == (1, 1)
    assert ops.shifts((32, 20, 3), 1 / 8) == (4, 3)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (4, 3), (8, 6), (2, 5)])
def test_cutout_blanks_half_of_each_side(row, column):
    expected = np.array(IMAGE)  # sides of 8 and of 7 both lose 4 pixels, from row - 2 on
    expected[max(row - 2, 0) : row + 2, max(column - 2, 0) : column + 2] = 0
    np.testing.assert_array_equal(ops.cutout(IMAGE, row, column), expected)


def test_draws_cover_their_ranges():
    ones = jnp.ones((64, 16, 16, 1))
    moved = np.asarray(augment.diff_augment("translation").apply((), ones, KEYS))
    lost = 16 - moved[..., 0].max(axis=2).sum(axis=1)
    assert set(lost) == {0, 1, 2}
    cut = 256 - np.asarray(augment.diff_augment("cutout").apply((), ones, KEYS)).sum(axis=(1, 2, 3))
    assert cut.max() == 64  # 8 x 8 in the middle
    assert 16 <= cut.min() < 64  # a quarter of the box in a corner
    light = np.asarray(augment.diff_augment("color").apply((), ones, KEYS)) - 1
    assert np.ptp(light, axis=(1, 2, 3)).max() < 1e-5  # on a uniform grey image only brightness acts
    assert np.abs(light).max() < 0.5
    assert light.min() < -0.4
    assert light.max() > 0.4


def test_a_sample_s_augmentation_is_its_key_s_and_does_not_depend_on_the_policy():
    apply = jax.jit(augment.diff_augment().apply)
    out = apply((), IMAGES, KEYS)
    order = np.random.default_rng(0).permutation(64)
    np.testing.assert_allclose(apply((), IMAGES[order], KEYS[order]), out[order], atol=1e-6)
    parts = IMAGES
    for part in ("color", "translation", "cutout"):
        parts = augment.diff_augment((part,)).apply((), parts, KEYS)
    np.testing.assert_allclose(out, parts, atol=1e-6)
    assert jnp.abs(out - IMAGES).max() > 0.5


def test_sixteen_bits_are_computed_in_float32():
    images = IMAGES.astype(jnp.bfloat16)
    apply = augment.diff_augment().apply
    out = apply((), images, KEYS)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, apply((), images.astype(jnp.float32), KEYS).astype(jnp.bfloat16))


@pytest.mark.parametrize("part", ["color", "translation", "cutout"])
def test_the_gradient_is_the_transpose(part):
    """An operation is affine: with `A x = f(x) - f(0)`, `<A x, y> = <x, A^T y>`, also in the second derivative."""
    apply = augment.diff_augment(part).apply
    f = jax.jit(lambda x: apply((), x, KEYS))
    pull = jax.jit(lambda x, y: jax.vjp(f, x)[1](y)[0])
    y, other = jax.random.normal(jax.random.key(5), (2, *IMAGES.shape))
    linear = f(IMAGES) - f(jnp.zeros_like(IMAGES))
    assert jnp.vdot(linear, y) == pytest.approx(float(jnp.vdot(IMAGES, pull(IMAGES, y))), abs=0.05, rel=1e-5)
    np.testing.assert_allclose(pull(other, y), pull(IMAGES, y), atol=1e-6)
    again = jax.vjp(lambda y: pull(IMAGES, y), y)[1](IMAGES)[0]
    np.testing.assert_allclose(again, linear, atol=1e-5)


def test_bad_input_is_told_in_a_sentence():
    with pytest.raises(ValueError, match="has no operation 'colour': use color, translation, cutout"):
        augment.diff_augment("colour,cutout")
    with pytest.raises(ValueError, match=r"with 1 or 3 channels, not float32 \(64, 8, 7, 2\)"):
        augment.diff_augment().apply((), IMAGES[..., :2], KEYS)
