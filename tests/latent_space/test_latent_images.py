"""Images of chosen latents: the same as `gan-jax sample` draws, in every space."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax import pixels
from gan_jax.errors import UserError
from gan_jax.latent_space.images import BLOCK, LatentImages
from gan_jax.latents import missing, normal
from latent_runs import linear_run, open_gan, styled_run

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_latents_and_images_are_those_of_the_sampler():
    run, _, _ = linear_run()
    images, sampler = LatentImages(run), run.sampler(5)
    assert (images.spaces, images.size, images.w_shape, images.truncates) == (("z",), 6, None, False)
    np.testing.assert_array_equal(images(images.latents(5, 7)), pixels.to_uint8(sampler(run.state.ema, 7)))
    np.testing.assert_array_equal(images.latents(5, 2, first=3), images.latents(5, 5)[3:])


def test_a_linear_generator_by_hand():
    run, matrix, bias = linear_run()
    images = LatentImages(run)
    z = np.random.default_rng(1).normal(size=(BLOCK + 3, 6)).astype(np.float32)  # a whole block and a part
    expected = pixels.to_uint8((z @ matrix + bias).reshape(-1, 4, 4, 1))
    assert np.abs(images(z).astype(int) - expected).max() <= 1  # rounding of x.5
    with pytest.raises(UserError, match=r"shape \(3, 5\), but those of the space z of this run are \[count, 6\]"):
        images(z[:3, :5])
    with pytest.raises(UserError, match="no space w: it has z"):
        images(z, space="w")
    with pytest.raises(UserError, match=r"has none: leave it at 1\.0"):
        images(z, truncation=0.5)


def test_the_spaces_of_stylegan2_show_one_image():
    run = styled_run()
    images = LatentImages(run)
    assert (images.spaces, images.w_shape) == (("z", "w", "w+"), (4, 5))
    z = images.latents(2, 3)
    w, layers = images.map(z), images.layers(z, "z")
    assert w.shape == (3, 5)
    assert layers.shape == (3, 4, 5)
    shown = images(z, noise_seed=2)
    np.testing.assert_array_equal(shown, images(w, space="w", noise_seed=2))
    np.testing.assert_array_equal(shown, images(layers, space="w+", noise_seed=2))
    assert (images(z, noise_seed=3) != shown).any()
    sampled = pixels.to_uint8(run.sampler(2)(run.state.ema, 1))[0]
    assert np.abs(shown[0].astype(int) - sampled).max() <= 1


@pytest.mark.parametrize("cutoff", [None, 1])
def test_truncation_is_that_of_the_generator(cutoff):
    run = styled_run(truncation_cutoff=cutoff)
    images = LatentImages(run)
    z = images.latents(0, 1)
    expected = pixels.to_uint8(run.sampler(0, 0.5)(run.state.ema, 1))
    for space, latents in (("z", z), ("w", images.map(z)), ("w+", images.layers(z, "z"))):
        assert np.abs(images(latents, space=space, truncation=0.5).astype(int) - expected).max() <= 1
    assert (images(z) != expected).any()


def test_maps_of_noise_take_the_place_of_drawn_noise():
    images = LatentImages(styled_run())
    shapes = jax.tree.map(lambda s: s.shape, jax.tree.leaves(images.generator.noise))
    assert sorted(shapes) == [(4, 4), (8, 8), (8, 8)]
    z = images.latents(0, 2)
    none = jax.tree.map(lambda s: np.zeros((2, *s.shape), np.float32), images.generator.noise)
    silent = LatentImages(styled_run(noise="none"))
    assert silent.generator.noise is None
    assert np.abs(images(z, noise=none).astype(int) - silent(z)).max() <= 1
    assert (images(z) != silent(z)).any()


def test_labels():
    run = styled_run(classes=3)
    images = LatentImages(run)
    assert images.class_names == ("0", "1", "2")
    z = np.repeat(images.latents(0, 1), 3, axis=0)
    each = images(z, labels=[0, 1, 2])
    np.testing.assert_array_equal(each, images(z))  # in turn, as in `gan-jax sample`
    np.testing.assert_array_equal(images(z, labels=1), np.repeat(each[1:2], 3, axis=0))
    with pytest.raises(UserError, match="labels must be from 0 to 2"):
        images(z, labels=3)


def test_other_variables_without_compiling_again():
    run, _, _ = linear_run()
    images = LatentImages(run)
    z = images.latents(0, 1)
    images(z)
    images.variables = jax.tree.map(lambda x: 0 * x, run.state.ema)
    with jax.log_compiles(False):
        assert (images(z) == 128).all()
    assert images._images._cache_size() == 1


def test_latents_of_several_arrays_are_flattened():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, latents):
            x = jnp.concatenate([latents["a"], nn.one_hot(latents["code"], 3)], axis=-1)
            return nn.Dense(16)(x).reshape(-1, 4, 4, 1)

    def latent(key):
        return {"a": normal(2)(key), "code": jax.random.randint(key, (), 0, 3)}

    run = open_gan(Two(), latent=latent)
    images = LatentImages(run)
    assert images.size == 3
    expected = pixels.to_uint8(run.sampler(1)(run.state.ema, 5))
    np.testing.assert_array_equal(images(images.latents(1, 5)), expected)


def test_runs_without_a_latent_space():
    run, _, _ = linear_run()
    with pytest.raises(UserError, match=r"of images, and this run's samples have shape \(2,\)"):
        LatentImages(run._replace(spec=run.spec._replace(shape=(2,))))
    paired = dataclasses.replace(run.gan, latent=missing, inputs=lambda example, key: example["image"])
    with pytest.raises(UserError, match="from data, and has no latent space"):
        LatentImages(run._replace(gan=paired))
