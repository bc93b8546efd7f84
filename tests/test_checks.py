"""What the fields of a GAN, a batch and a state may be: others are refused in one sentence."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
import small_gan
from gan_jax import Term, augment, losses, penalties
from gan_jax.checks import check_batch, check_gan
from gan_jax.models import mlp

IMAGE = small_gan.SHAPE
# A plain record with the fields of a GAN: the type checks of the tests would refuse a GAN first.
GAN_DEFAULTS = {field.name: getattr(small_gan.make(), field.name) for field in dataclasses.fields(gan_jax.GAN)}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("ema", 0.999, "ema must be a schedule of the half-life in images"),
        ("generator", mlp.Generator, "Generator, which is not called: write Generator"),
        ("discriminator", lambda x: x, "must be an object with init and apply"),
        ("loss", losses.hinge, "loss must be like gan_jax.losses.hinge.*hinge, which is not called"),
        ("augment", augment.ada, "augment must be like .*ada, which is not called"),
        ("generator_tx", optax.adam, "must be an Optax optimizer .*adam, which is not called"),
        ("discriminator_terms", (penalties.r1(),), "the penalty r1 without its weight"),
        ("discriminator_terms", (Term(1.0, penalties.r1),), "a term whose penalty is r1, which is not called"),
        ("discriminator_terms", Term(1.0, penalties.r1()), "must be a tuple of terms, got a term"),
        ("discriminator_terms", (Term("5", penalties.r1()),), "the weight must be a finite number or a schedule"),
        ("discriminator_terms", (Term(float("nan"), penalties.r1()),), "the weight must be a finite number"),
        ("inputs", gan_jax.inputs.image(), "not both: .*sets inputs, set latent=gan_jax.latents.missing too"),
        ("discriminator_terms", (Term(1.0, penalties.r1(), 2.5),), "every must be an integer, got 2.5"),
    ],
)
def test_a_field_of_another_kind_is_refused(field, value, words):
    with pytest.raises(ValueError, match=words):
        check_gan(SimpleNamespace(**{**GAN_DEFAULTS, field: value}))


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"images": jnp.zeros((8, *IMAGE))}, "under \"image\", but this one has the keys \\['images'\\]"),
        (jnp.zeros((8, *IMAGE)), "but this one has no keys"),
        ({"image": jnp.zeros((2, *IMAGE)), "label": [0, 1]}, "their leading axes must agree"),
        ({"image": (jnp.zeros((8, *IMAGE)), jnp.zeros((8, 3)))}, "is a tuple of two, .* a dict or a NamedTuple"),
        ({"image": jnp.zeros(8)}, r"images are \[B, ...\], but their shape is \(8,\)"),
        ({"image": jnp.zeros((8, *IMAGE)), "label": jnp.zeros(7)}, "their leading axes must agree"),
    ],
)
def test_a_batch_of_another_kind_is_refused(batch, words):
    with pytest.raises(ValueError, match=words):
        check_batch(batch, 1)


def test_a_plain_batch_for_several_updates_is_refused():
    gan = small_gan.make(disc_steps=2)
    for shape in ((32, 7), (2, 7)):
        with pytest.raises(ValueError, match=r"takes 2 batches, so images are \[2, B, ...\]"):
            gan_jax.init(gan, jax.random.key(0), {"image": jnp.zeros(shape)})


def test_the_state_of_another_gan_is_refused():
    batch = small_gan.batches(8)
    state = gan_jax.init(small_gan.make(), jax.random.key(0), batch)
    others = (
        ({"discriminator_terms": (Term(1.0, penalties.r1()),)}, "the state has 0 penalties of the discriminator"),
        ({"generator_tx": optax.adam(0.1)}, "the generator's optimizer is that of another GAN"),
        ({"augment": augment.ada()}, "the augmentation is that of another GAN"),
    )
    for fields, words in others:
        with pytest.raises(ValueError, match=words):
            jax.eval_shape(gan_jax.make_train_step(small_gan.make(**fields)), state, batch)


def test_an_optimizer_that_computes_with_numpy_is_served():
    """Its state cannot be traced, so it is not compared."""

    def init(params):
        return jax.tree.map(lambda x: np.array(x).mean(), params)

    tx = optax.GradientTransformation(init, lambda updates, state, params=None: (updates, state))
    _, (metrics,) = small_gan.train(small_gan.make(generator_tx=tx), small_gan.batches(8))
    assert metrics["nonfinite"] == 0


def test_keys_whose_numbers_depend_on_the_other_samples_are_refused():
    """Only threefry draws the same numbers for a sample, whatever is drawn with it."""
    batch = small_gan.batches(8)
    for kind in ("rbg", "unsafe_rbg"):
        with pytest.raises(ValueError, match=f"of the type {kind}, .*threefry2x32"):
            gan_jax.init(small_gan.make(), jax.random.key(0, impl=kind), batch)


def test_a_loss_of_an_array_is_refused():
    batch = small_gan.batches(8)
    loss = gan_jax.Loss(lambda real, fake: -fake, lambda real, fake: fake - real)
    state = gan_jax.init(small_gan.make(), jax.random.key(0), batch)
    with pytest.raises(ValueError, match="a loss must be a scalar"):
        jax.eval_shape(gan_jax.make_train_step(small_gan.make(loss=loss)), state, batch)
