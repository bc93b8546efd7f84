"""Simultaneous and one-stage updates against gradients by hand, and against each other."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
import small_gan
from by_hand import LR_D, LR_G, close, latents_by_hand
from gan_jax.models import dcgan

pytestmark = pytest.mark.usefixtures("quick_compile")

LOSSES = ("non_saturating", "minimax", "least_squares", "wasserstein", "relativistic")


QUICK = [("non_saturating", "simultaneous"), ("non_saturating", "one_stage"), ("relativistic", "simultaneous")]
CASES = [
    pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow)
    for case in itertools.product(LOSSES, ("simultaneous", "one_stage"))
]


@pytest.mark.parametrize(("name", "update"), CASES)
def test_both_players_move_against_the_old_other(name, update):
    loss, gamma = getattr(gan_jax.losses, name)(), 0.3
    gan = small_gan.make(
        loss=loss, update=update, discriminator_terms=(gan_jax.Term(gamma, gan_jax.penalties.r1_r2()),)
    )
    batch = small_gan.batches(4)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    z, g, d = latents_by_hand(state.key, 0, 0, 4), state.generator.params, state.discriminator.params
    fake = small_gan.generate(g, z)

    def logits(d, image):
        return small_gan.discriminate(d, image)

    @jax.jit
    def square(d, image):
        return jnp.sum(jax.grad(lambda x: jnp.sum(logits(d, x)))(image) ** 2) / 4

    def on_discriminator(d):
        penalty = gamma * (square(d, batch["image"]) + square(d, fake)) / 2
        return loss.discriminator(logits(d, batch["image"]), logits(d, fake)) + penalty

    def on_generator(g):
        return loss.generator(logits(d, batch["image"]), logits(d, small_gan.generate(g, z)))

    moved = (
        jax.tree.map(lambda p, s: p - LR_G * s, g, jax.jit(jax.grad(on_generator))(g)),
        jax.tree.map(lambda p, s: p - LR_D * s, d, jax.jit(jax.grad(on_discriminator))(d)),
    )
    after, metrics = jax.jit(gan_jax.make_train_step(gan))(state, batch)
    close((after.generator.params, after.discriminator.params), moved)
    expected = {
        "loss/generator": on_generator(g),
        "penalty/r1_r2": (square(d, batch["image"]) + square(d, fake)) / 2,
    }
    close({name: metrics[name] for name in expected}, expected)
    alternating = gan_jax.make_train_step(small_gan.make(discriminator_terms=gan.discriminator_terms))
    assert set(metrics) == set(jax.eval_shape(alternating, state, batch)[1])


def test_the_last_of_several_turns_is_the_joint_one():
    """With two turns of the discriminator, the generator plays against the one after the first."""
    batch = small_gan.batches(2, 4)
    states = [
        small_gan.train(small_gan.make(disc_steps=2, update=u), batch)[0] for u in ("simultaneous", "one_stage")
    ]
    close(states[0].generator.params, states[1].generator.params)
    alternating = small_gan.train(small_gan.make(disc_steps=2), batch)[0]
    close(states[0].discriminator.params, alternating.discriminator.params)
    difference = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), states[0].generator, alternating.generator)
    assert max(jax.tree.leaves(difference.params)) > 1e-4


def test_a_sure_discriminator_gives_finite_gradients():
    """Where it is sure of every fake, the two derivatives' ratio is beyond any float."""
    gan = small_gan.make(update="one_stage")
    batch = small_gan.batches(4)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    params = {
        **state.discriminator.params,
        "out": jnp.full((small_gan.WIDTH,), -300.0),
        "bias": jnp.full((5,), 9.0),
    }
    state = state.replace(discriminator=state.discriminator.replace(params=params))
    after, metrics = gan_jax.make_train_step(gan)(state, batch)
    assert metrics["logits/fake"] < -1000
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.generator.params))


def test_one_stage_still_learns_where_the_discriminator_is_nearly_sure():
    """Of logits of -20 the discriminator's slope is 2e-9, the generator's 1: the ratio brings it back."""
    batch = small_gan.batches(4)
    after = []
    for update in ("simultaneous", "one_stage"):
        gan = small_gan.make(update=update)
        state = gan_jax.init(gan, jax.random.key(0), batch)
        params = {
            **state.discriminator.params,
            "out": jnp.full((small_gan.WIDTH,), -4.0),
            "bias": jnp.full((5,), 2.5),
        }
        state = state.replace(discriminator=state.discriminator.replace(params=params))
        new, metrics = gan_jax.make_train_step(gan)(state, batch)
        assert -20.5 < metrics["logits/fake"] < -15
        after.append(jax.tree.map(jnp.subtract, new.generator.params, state.generator.params))
    assert max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(after[0])) > 1e-3
    close(*after, rtol=1e-4)


def test_what_cannot_be_one_pass_is_refused():
    for keywords in ({"share_latents": False}, {"microbatches": 2}):
        with pytest.raises(ValueError, match="update=simultaneous is one pass"):
            small_gan.make(update="simultaneous", **keywords)
    with pytest.raises(ValueError, match="one of alternating, generator_first, simultaneous, one_stage"):
        small_gan.make(update="both")


def test_one_stage_refuses_batch_statistics():
    gan = small_gan.make(
        generator=dcgan.Generator((8, 8, 1), width=2, base=4), update="one_stage",
        discriminator=dcgan.Discriminator(width=2, base=2), latent=gan_jax.latents.normal(2),
    )  # fmt: skip
    batch = {"image": jax.ShapeDtypeStruct((4, 8, 8, 1), jnp.uint8)}
    state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
    with pytest.raises(ValueError, match="treats samples apart"):
        jax.eval_shape(gan_jax.make_train_step(gan), state, batch)
