"""Tests what the augmentations do to samples, and their first and second derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
import small_gan
from gan_jax import augment
from gan_jax.step.updates import Updates
from gan_jax.types import Samples

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

KEYS = jax.random.split(jax.random.key(3), 64)
IMAGES = jax.random.normal(jax.random.key(4), (64, 3, 4, 2))


def test_identity():
    still = augment.identity()
    assert still.apply(still.init(), IMAGES, KEYS) is IMAGES
    assert still.update((), jnp.zeros(4), 4) == ()


def test_mirror_flips_whole_samples_left_to_right():
    out = np.asarray(augment.mirror().apply((), IMAGES, KEYS))
    flipped = np.asarray(IMAGES)[:, :, ::-1]
    kept = np.array([np.array_equal(a, b) for a, b in zip(out, np.asarray(IMAGES))])
    mirrored = np.array([np.array_equal(a, b) for a, b in zip(out, flipped)])
    assert (kept ^ mirrored).all()
    assert 16 < mirrored.sum() < 48  # a fair coin fails this with probability 2e-5


def test_mirror_is_the_key_s():
    apply = augment.mirror().apply
    np.testing.assert_array_equal(apply((), IMAGES, KEYS)[40:], apply((), IMAGES[40:], KEYS[40:]))


@pytest.mark.parametrize(("probability", "axis_step"), [(0.0, 1), (1.0, -1)])
def test_mirror_always_and_never(probability, axis_step):
    out = augment.mirror(probability).apply((), IMAGES, KEYS)
    np.testing.assert_array_equal(out, IMAGES[:, :, ::axis_step])


@pytest.mark.parametrize("probability", [-0.1, 1.5])
def test_mirror_s_probability_is_one(probability):
    with pytest.raises(ValueError, match=f"mirror's probability must be from 0 to 1, got {probability}"):
        augment.mirror(probability)


def test_gradients_through_mirror():
    """A flip is its own transpose: the gradient of `<w, A x>` is `A w`, and has the norm of w."""
    weights = jax.random.normal(jax.random.key(5), IMAGES.shape[1:])
    apply = augment.mirror().apply

    def gradient(weights):
        return jax.grad(lambda x: jnp.sum(apply((), x, KEYS) * weights[None]))(IMAGES)

    tiled = jnp.broadcast_to(weights[None], IMAGES.shape)
    np.testing.assert_array_equal(gradient(weights), apply((), tiled, KEYS))
    second = jax.grad(lambda w: jnp.sum(gradient(w) ** 2) / 2)(weights)
    np.testing.assert_allclose(second, 64 * weights, rtol=1e-5)


def test_update_sees_the_reals_logits_of_the_whole_batch_and_its_size():
    """The state follows the sign of the logits, as in ADA."""
    follow = gan_jax.Augment(
        init=lambda: jnp.zeros(()),
        apply=lambda state, images, keys: images + 0 * state,
        update=lambda state, logits, images: state + images + jnp.mean(jnp.sign(logits)),
    )
    always = small_gan.Discriminator()
    always.apply = lambda variables, image: jnp.full(image.shape[0], 2.0) + 0 * image[:, 0, 0, 0]
    gan = small_gan.make(augment=follow, discriminator=always, microbatches=2)
    state, _ = small_gan.train(gan, small_gan.batches(8), steps=3)
    assert state.augment == 3 * (8 + 1)


def test_update_is_once_a_step_however_many_turns():
    counting = gan_jax.Augment(
        lambda: jnp.zeros(()), lambda state, images, keys: images, lambda state, logits, images: state + images
    )
    gan = small_gan.make(augment=counting, disc_steps=3)
    batch = {"image": jnp.zeros((3, 8, *small_gan.SHAPE))}
    state, _ = small_gan.train(gan, batch)
    assert state.augment == 8


def derived(key):
    """The bits of a key, of the keys that splitting and folding derive from it, and of their derived keys."""

    def children(key):
        split = [jax.random.split(key, n) for n in (2, 3, 4)]
        return jnp.concatenate([jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(16)), *split])

    first = children(key)
    rows = [key[None], first, jax.vmap(children)(first).reshape(-1)]
    return {tuple(bits) for row in rows for bits in np.asarray(jax.random.key_data(row)).tolist()}


def test_the_discriminator_s_own_keys_are_none_of_the_augmentation_s():
    """Nor do the two derive a common key: ADA folds and splits the keys it gets."""
    seen = {}

    class Recording(small_gan.Discriminator):
        def apply(self, variables, image, keys):
            seen["network"] = keys
            return super().apply(variables, image)

    def record(state, images, keys):
        seen["augment"] = keys
        return images

    gan = small_gan.make(augment=augment.identity()._replace(apply=record), discriminator=Recording())
    params = gan.discriminator.init(jax.random.key(0), None)["params"]
    samples = Samples(jnp.zeros((2, *small_gan.SHAPE)), None, KEYS[:2])
    Updates(gan, None).discriminate(params, {}, (), samples)
    of_augment, of_network = (derived(seen[name][0]) for name in ("augment", "network"))
    assert len(of_augment) == len(of_network) > 200
    assert not of_augment & of_network
    # Each sample has its own keys, which differ from the step's.
    bits = [np.asarray(jax.random.key_data(keys)) for keys in (KEYS[:2], *seen.values())]
    assert len(np.unique(np.concatenate(bits), axis=0)) == 6


def test_metrics_of_an_augmentation_are_those_after_the_update():
    """ADA's p moves by 16 / 100 in the second and the fourth step, because D's logits of reals are positive."""
    always = small_gan.Discriminator()
    always.apply = lambda variables, image: jnp.full(image.shape[0], 2.0) + 0 * image[:, 0, 0, 0]
    ada = augment.ada("blit", p=0.4, every=2, speed_kimg=0.1)
    state, history = small_gan.train(
        small_gan.make(augment=ada, discriminator=always), small_gan.batches(8), steps=4
    )
    np.testing.assert_allclose([one["augment/p"] for one in history], [0.4, 0.56, 0.56, 0.72], rtol=1e-6)
    assert history[-1]["augment/p"] == state.augment.p
    assert history[-1]["nonfinite"] == 0


def test_metrics_of_an_augmentation_count_as_nonfinite():
    broken = augment.identity()._replace(metrics=lambda state: {"augment/broken": jnp.asarray(jnp.nan)})
    _, (metrics,) = small_gan.train(small_gan.make(augment=broken), small_gan.batches(8))
    assert metrics["nonfinite"] == 1


def test_reals_and_fakes_are_both_augmented():
    """An augmentation that returns zeros makes the logits of reals and fakes equal."""
    blank = gan_jax.Augment(lambda: (), lambda state, images, keys: 0.0 * images, lambda state, *_: state)
    _, (metrics,) = small_gan.train(small_gan.make(augment=blank), small_gan.batches(8))
    _, (plain,) = small_gan.train(small_gan.make(), small_gan.batches(8))
    assert metrics["logits/real"] == metrics["logits/fake"]
    assert plain["logits/real"] != plain["logits/fake"]
    assert metrics["grad_norm/generator"] == 0
