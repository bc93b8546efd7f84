"""Model state in a step, such as batch statistics, and a batch that is split into microbatches."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

import gan_jax
import small_gan
from by_hand import LR_D, close, latents_by_hand
from gan_jax.models import mlp, stylegan2
from gan_jax.step import mixes_samples

pytestmark = pytest.mark.usefixtures("quick_compile")


class NormedGenerator(nn.Module):
    @nn.compact
    def __call__(self, latents, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(4)(latents))
        return jnp.tanh(x).reshape(-1, *small_gan.SHAPE)


class NormedDiscriminator(nn.Module):
    @nn.compact
    def __call__(self, image, train):
        x = nn.Dense(5)(image.reshape(-1, 4))
        x = nn.tanh(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(1)(x)[:, 0]


@pytest.mark.parametrize("share", [True, False])
def test_batch_statistics_change_in_their_own_turn_only(share):
    """D's by the real pass, then the fake pass; G's by one pass of its own turn: recomputed with Flax itself."""
    gan = small_gan.make(
        generator=NormedGenerator(), discriminator=NormedDiscriminator(), disc_steps=2, share_latents=share
    )
    batch = small_gan.batches(gan.batches_per_step, 8)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    start = jax.tree.map(jnp.copy, state)
    after, _ = small_gan.train(gan, batch, state=state)
    assert set(start.generator.model_state) == {"batch_stats"}

    @functools.partial(jax.jit, static_argnums=0)
    def run(network, params, model_state, x):
        return network.apply({"params": params, **model_state}, x, train=True, mutable=["batch_stats"])

    generate = functools.partial(run, gan.generator, start.generator.params, start.generator.model_state)
    player, stats = start.discriminator.params, start.discriminator.model_state
    for turn in range(2):
        fake, _ = generate(latents_by_hand(start.key, 0, turn, 8))

        def loss(params, turn=turn, fake=fake, stats=stats):
            on_real, changed = run(gan.discriminator, params, stats, batch["image"][turn])
            on_fake, changed = run(gan.discriminator, params, changed, fake)
            return gan.loss.discriminator(on_real, on_fake), changed

        grads, stats = jax.jit(jax.grad(loss, has_aux=True))(player)
        player = jax.tree.map(lambda p, g: p - LR_D * g, player, grads)
    close(after.discriminator.params, player)
    close(after.discriminator.model_state, stats)
    _, own = generate(latents_by_hand(start.key, 0, 1 if share else 2, 8))
    close(after.generator.model_state, own)


class Refreshed(small_gan.Generator):
    """Counts its refreshes and, apart from them, nothing."""

    def init(self, key, x):
        return {**super().init(key, x), "count": {"n": jnp.zeros(())}}

    def refresh(self, variables):
        return {**variables, "count": {"n": variables["count"]["n"] + 1}}


class RefreshedDiscriminator(Refreshed, small_gan.Discriminator):
    def init(self, key, x):
        return {**small_gan.Discriminator.init(self, key, x), "count": {"n": jnp.zeros(())}}

    def apply(self, variables, image):
        return small_gan.Discriminator.apply(self, variables, image)


@pytest.mark.parametrize(("disc_steps", "microbatches"), [(1, 1), (3, 2)])
def test_refresh_is_once_a_turn(disc_steps, microbatches):
    gan = small_gan.make(
        generator=Refreshed(),
        discriminator=RefreshedDiscriminator(),
        disc_steps=disc_steps,
        microbatches=microbatches,
    )
    batch = small_gan.batches(*([disc_steps] if disc_steps > 1 else []), 4)
    state, _ = small_gan.train(gan, batch, steps=2)
    assert state.generator.model_state["count"]["n"] == 2
    assert state.discriminator.model_state["count"]["n"] == 2 * disc_steps


# Microbatches.


@pytest.mark.parametrize("share", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_microbatches_are_the_large_batch(share):
    """With a penalty on each player, for networks that keep samples apart."""
    keywords = {
        "discriminator_terms": (
            gan_jax.Term(0.5, gan_jax.penalties.r1_r2()),
            gan_jax.Term(1.0, gan_jax.penalties.wgan_gp(), 2),
        ),
        "generator_terms": (gan_jax.Term(0.1, gan_jax.penalties.reconstruction()),),
        "share_latents": share,
    }
    batch = small_gan.batches(8) if share else small_gan.batches(2, 8)
    whole, first = small_gan.train(small_gan.make(**keywords), batch, steps=2)
    parts, second = small_gan.train(small_gan.make(**keywords, microbatches=4), batch, steps=2)
    close(whole.replace(key=0), parts.replace(key=0))
    close(first, second)


@pytest.mark.parametrize(
    ("penalty", "found"),
    [
        (gan_jax.penalties.r1_approx(), []),
        (gan_jax.penalties.r2_approx(share=1 / 2), ["the penalty r2_approx"]),  # it reads other samples
        (gan_jax.penalties.logit_centering(), ["the penalty logit_centering"]),
        (gan_jax.penalties.lecam(), ["the state of the penalty lecam"]),
    ],
)
def test_penalties_that_are_of_a_microbatch_are_named(penalty, found):
    """The states are shapes alone: nothing is compiled."""
    gan = small_gan.make(discriminator_terms=(gan_jax.Term(1.0, penalty),))
    generator = SimpleNamespace(model_state={}, penalties=())
    discriminator = SimpleNamespace(model_state={}, penalties=(penalty.init(),))
    assert mixes_samples(gan, SimpleNamespace(generator=generator, discriminator=discriminator)) == found


class Counting(small_gan.Generator):
    """Counts the passes of its own turns."""

    def init(self, key, x):
        return {**super().init(key, x), "passes": {"n": jnp.zeros(())}}

    def apply(self, variables, latents, mutable=()):
        image = super().apply(variables, latents)
        return (image, {"passes": {"n": variables["passes"]["n"] + 1}}) if mutable else image


def mixed(batch, **keywords):
    gan = small_gan.make(**keywords)
    return mixes_samples(gan, jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch)))


def test_what_is_of_a_microbatch_is_named():
    batch = small_gan.batches(8)
    assert mixed(batch) == []
    assert mixed(batch, discriminator=mlp.Discriminator(width=4, spectral=True)) == []
    assert mixed(batch, discriminator_terms=(gan_jax.Term(1.0, gan_jax.penalties.r1_r2()),)) == []
    assert mixed(batch, generator=NormedGenerator(), discriminator=NormedDiscriminator()) == [
        "the generator's batch_stats",
        "the discriminator's batch_stats",
    ]
    style = {"mapping_layers": 1, "channel_max": 2}
    batch = {"image": jax.ShapeDtypeStruct((8, 8, 8, 1), jnp.float32)}
    assert mixed(
        batch,
        generator=stylegan2.Generator((8, 8, 1), w_size=4, **style),
        discriminator=stylegan2.Discriminator(group=4, **style),
        generator_terms=(gan_jax.Term(2.0, gan_jax.penalties.path_length(), 4),),
    ) == [
        "the generator's w_avg",
        "the state of the penalty path_length",
        "the discriminator's minibatch deviation (group=4)",
    ]
    assert mixed(batch, generator=mlp.Generator((8, 8, 1)), discriminator=stylegan2.Discriminator(group=1)) == []


@pytest.mark.parametrize("microbatches", [1, 4])
def test_a_running_mean_moves_once_a_part(microbatches):
    keywords = {"generator": Counting(), "microbatches": microbatches}
    assert mixed(small_gan.batches(8), **keywords) == ["the generator's passes"]
    state, _ = small_gan.train(small_gan.make(**keywords), small_gan.batches(8))
    assert state.generator.model_state["passes"]["n"] == microbatches


def test_a_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match=r"4 microbatches do not divide a batch of 6 "):
        small_gan.train(small_gan.make(microbatches=4), small_gan.batches(6))
