"""Compares ADA's colour operations and corruptions with closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.augment.color import Color, color_matrix, recolor
from gan_jax.augment.corruption import add_noise, band_gains, cut_box, filter_bands
from gan_jax.augment.wavelets import filter_bank

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

RGB = np.random.default_rng(1).normal(size=(50, 3))


def colored(c):
    matrix = np.asarray(color_matrix(c), np.float64)
    np.testing.assert_array_equal(matrix[3], [0, 0, 0, 1])
    return RGB @ matrix[:3, :3].T + matrix[:3, 3]


def test_each_color_operation():
    mean = RGB.mean(axis=1, keepdims=True)
    rest = RGB - mean
    close = dict(atol=2e-6)
    np.testing.assert_allclose(colored(Color()), RGB, **close)
    np.testing.assert_allclose(colored(Color(brightness=0.3)), RGB + 0.3, **close)
    np.testing.assert_allclose(colored(Color(contrast=1.7)), RGB * 1.7, **close)
    np.testing.assert_allclose(colored(Color(lumaflip=1.0)), rest - mean, **close)
    np.testing.assert_allclose(colored(Color(saturation=0.2)), mean + 0.2 * rest, **close)
    third = colored(Color(hue=2 * np.pi / 3))
    np.testing.assert_allclose(third, np.roll(RGB, 1, axis=1), **close)  # a third of a turn: red to green


def test_hue_keeps_luma_and_distances_and_lumaflip_is_an_involution():
    turned = colored(Color(hue=0.9))
    np.testing.assert_allclose(turned.mean(axis=1), RGB.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(RGB, axis=1), atol=1e-5)
    matrix = color_matrix(Color(lumaflip=1.0))
    np.testing.assert_allclose(matrix @ matrix, np.eye(4), atol=1e-6)


def test_color_operations_act_in_their_order():
    c = Color(brightness=0.3, contrast=0.6, lumaflip=1.0, hue=1.1, saturation=1.9)
    steps = [Color(**{name: value}) for name, value in c._asdict().items()]
    product = np.eye(4)
    for step in steps:
        product = np.asarray(color_matrix(step)) @ product
    np.testing.assert_allclose(color_matrix(c), product, atol=1e-6)


def test_a_color_matrix_does_not_depend_on_the_platform_s_precision():
    """It has no matrix product, which a platform may compute in fewer bits; the offset has its closed form."""
    c = Color(brightness=0.3, contrast=0.6, lumaflip=1.0, hue=1.1, saturation=1.9)
    assert "dot_general" not in str(jax.make_jaxpr(color_matrix)(c))
    np.testing.assert_allclose(color_matrix(c)[:3, 3], -0.6 * 0.3, rtol=1e-6)
    np.testing.assert_allclose(color_matrix(c._replace(lumaflip=0.0))[:3, 3], 0.6 * 0.3, rtol=1e-6)


def test_grey_images_take_the_mean_of_the_rows():
    """The result equals the mean of three equal channels, recoloured."""
    draws = [Color(brightness=0.3, contrast=0.6, lumaflip=1.0), Color(hue=1.1, saturation=1.9)]
    matrices = jnp.stack([color_matrix(c) for c in draws])
    grey = jax.random.normal(jax.random.key(0), (2, 4, 5, 1))
    three = recolor(jnp.repeat(grey, 3, axis=3), matrices)
    np.testing.assert_allclose(recolor(grey, matrices), three.mean(axis=3, keepdims=True), atol=1e-6)


def test_bands_sum_to_an_impulse_and_each_has_its_place():
    bank = filter_bank()
    impulse = np.zeros(43)
    impulse[21] = 1
    np.testing.assert_allclose(bank.sum(axis=0), impulse, atol=1e-12)
    np.testing.assert_allclose(bank, bank[:, ::-1], atol=1e-12)
    middles = np.pi * np.array([0.0, 3 / 16, 3 / 8, 1.0])
    response = np.cos(np.outer(middles, np.arange(43) - 21)) @ bank.T  # [frequency, band]
    np.testing.assert_array_equal(response.argmax(axis=1), range(4))
    assert response[0] == pytest.approx([1, 0, 0, 0], abs=1e-12)
    assert response[3] == pytest.approx([0, 0, 0, 1], abs=1e-12)


def test_gains_keep_the_expected_power():
    factors = np.array([1.0, 3.0, 1.0, 0.5])
    power = np.array([10, 1, 1, 1]) / 13
    expected = np.ones(4)
    for i in range(4):
        t = np.ones(4)
        t[i] = factors[i]
        expected *= t / np.sqrt(power @ t**2)
    np.testing.assert_allclose(band_gains(jnp.asarray(factors)), expected, rtol=1e-6)
    np.testing.assert_allclose(band_gains(jnp.ones(4)), 1.0, rtol=1e-6)


def test_filter_is_the_bank_over_a_reflected_image():
    x = np.random.default_rng(2).normal(size=(2, 22, 24, 1))
    gains = np.array([[1.2, 0.3, 2.0, 0.7], [0.8, 1.5, 0.1, 1.1]])
    out = filter_bands(jnp.asarray(x, jnp.float32), jnp.asarray(gains))
    for image, g, got in zip(x, gains, out):
        taps = g @ filter_bank()
        padded = np.pad(image[..., 0], 21, mode="reflect")
        rows = np.stack([np.convolve(row, taps, "valid") for row in padded])
        expected = np.stack([np.convolve(column, taps, "valid") for column in rows.T]).T
        np.testing.assert_allclose(got[..., 0], expected, atol=2e-5)
    with pytest.raises(ValueError, match="more than 21 pixels a side, not 21 x 24: set imgfilter=0"):
        filter_bands(jnp.zeros((1, 21, 24, 1)), jnp.ones((1, 4)))


def test_cutout_blanks_its_box():
    x = jnp.ones((3, 8, 4, 1))
    centers = jnp.asarray([[0.5, 0.25], [0.0, 1.0], [0.5, 0.5]])
    out = np.asarray(cut_box(x, centers, jnp.asarray([0.5, 0.5, 0.0])))[..., 0]
    expected = np.ones((3, 8, 4))
    expected[0, 0:4, 1:3] = 0
    expected[1, 6:8, 0:1] = 0
    np.testing.assert_array_equal(out, expected)


def test_noise_has_its_deviation_and_is_the_key_s():
    keys = jax.random.split(jax.random.key(3), 2)
    noise = np.asarray(add_noise(jnp.zeros((2, 64, 64, 3)), jnp.asarray([0.1, 0.0]), keys))
    assert noise[0].std() == pytest.approx(0.1, rel=0.05)  # 7 standard errors
    assert noise[0].mean() == pytest.approx(0.0, abs=0.006)
    assert not noise[1].any()
