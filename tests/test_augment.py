"""Augmentations: what they do to a sample, and that gradients, of second order too, go through them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import games
import gan_jax
from gan_jax import augment

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
    assert 16 < mirrored.sum() < 48  # fair draws: outside with probability 2e-5


def test_mirror_is_the_key_s():
    apply = augment.mirror().apply
    np.testing.assert_array_equal(apply((), IMAGES, KEYS)[40:], apply((), IMAGES[40:], KEYS[40:]))


@pytest.mark.parametrize(("probability", "axis_step"), [(0.0, 1), (1.0, -1)])
def test_mirror_always_and_never(probability, axis_step):
    out = augment.mirror(probability).apply((), IMAGES, KEYS)
    np.testing.assert_array_equal(out, IMAGES[:, :, ::axis_step])


def test_gradients_through_mirror():
    """A flip is its own transpose: the gradient of `<w, A x>` is `A w`; of a penalty on it, the same norm."""
    weights = jax.random.normal(jax.random.key(5), IMAGES.shape[1:])
    apply = augment.mirror().apply

    def gradient(weights):
        return jax.grad(lambda x: jnp.sum(apply((), x, KEYS) * weights[None]))(IMAGES)

    tiled = jnp.broadcast_to(weights[None], IMAGES.shape)
    np.testing.assert_array_equal(gradient(weights), apply((), tiled, KEYS))
    second = jax.grad(lambda w: jnp.sum(gradient(w) ** 2) / 2)(weights)
    np.testing.assert_allclose(second, 64 * weights, rtol=1e-5)


def test_update_sees_the_reals_logits_of_the_whole_batch_and_its_size():
    """A state that follows the sign of the logits, as ADA's does."""
    follow = gan_jax.Augment(
        init=lambda: jnp.zeros(()),
        apply=lambda state, images, keys: images + 0 * state,
        update=lambda state, logits, images: state + images + jnp.mean(jnp.sign(logits)),
    )
    always = games.Discriminator()
    always.apply = lambda variables, image: jnp.full(image.shape[0], 2.0) + 0 * image[:, 0, 0, 0]
    gan = games.make(augment=follow, discriminator=always, microbatches=2)
    state, _ = games.play(gan, games.batches(8), steps=3)
    assert state.augment == 3 * (8 + 1)


def test_update_is_once_a_step_however_many_turns():
    counting = gan_jax.Augment(
        lambda: jnp.zeros(()), lambda state, images, keys: images, lambda state, logits, images: state + images
    )
    gan = games.make(augment=counting, disc_steps=3)
    batch = {"image": jnp.zeros((3, 8, *games.SHAPE))}
    step = gan_jax.make_train_step(gan)
    state, _ = step(gan_jax.init(gan, jax.random.key(0), batch), batch)
    assert state.augment == 8


def test_reals_and_fakes_are_both_augmented():
    """With an augmentation to nothing the two logits are alike, and neither is what it was."""
    blank = gan_jax.Augment(lambda: (), lambda state, images, keys: 0.0 * images, lambda state, *_: state)
    _, (metrics,) = games.play(games.make(augment=blank), games.batches(8))
    _, (plain,) = games.play(games.make(), games.batches(8))
    assert metrics["logits/real"] == metrics["logits/fake"]
    assert plain["logits/real"] != plain["logits/fake"]
    assert metrics["grad_norm/generator"] == 0
