"""What a GAN passes to its networks, such as labels and keys, and which networks it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import gan_jax
import small_gan
from gan_jax.models.layers import Dense, SpectralNormed
from small_gan import LATENT, SHAPE

pytestmark = pytest.mark.usefixtures("quick_compile")
BATCH = small_gan.batches(8)


def test_labels_reach_both_networks():
    """The networks output their label: reals get it from the batch, fakes from `fake_labels`."""

    class Label:
        def init(self, key, x, label):
            return {"params": jnp.zeros(())}

    class LabelImage(Label):
        def apply(self, variables, latents, label):
            return jnp.ones((label.shape[0], *SHAPE)) * label[:, None, None, None] + variables["params"]

    class LabelLogit(Label):
        def apply(self, variables, image, label):
            return 10 * label + jnp.mean(image, axis=(1, 2, 3)) + variables["params"]

    batch = {"image": jnp.zeros((4, *SHAPE)), "label": jnp.asarray([0, 1, 2, 5])}
    players = {"generator": LabelImage(), "discriminator": LabelLogit(), "loss": gan_jax.losses.wasserstein()}
    _, (metrics,) = small_gan.train(small_gan.make(**players), batch)
    assert metrics["logits/real"] == 20  # 10 times the mean label; the images are 0
    assert metrics["logits/fake"] == 22
    _, (metrics,) = small_gan.train(small_gan.make(**players, fake_labels=lambda key: jnp.asarray(3)), batch)
    assert metrics["logits/real"] == 20
    assert metrics["logits/fake"] == 33


class Noisy(small_gan.Generator):
    """A generator that draws noise inside the network, with one key per sample."""

    def apply(self, variables, latents, keys):
        noise = jax.vmap(lambda key: jax.random.normal(key, (LATENT,)))(keys)
        return super().apply(variables, latents + 0.5 * noise)


@pytest.mark.parametrize("share", [True, False])
def test_noise_does_not_depend_on_how_the_batch_is_split(share):
    batch = small_gan.batches(8) if share else small_gan.batches(2, 8)
    whole, first = small_gan.train(small_gan.make(generator=Noisy(), share_latents=share), batch)
    parts, second = small_gan.train(small_gan.make(generator=Noisy(), share_latents=share, microbatches=4), batch)
    for name, value in first[0].items():
        np.testing.assert_allclose(second[0][name], value, rtol=1e-5, atol=1e-7, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        (whole.generator.params, whole.discriminator.params),
        (parts.generator.params, parts.discriminator.params),
    )


def test_noise_is_there():
    _, (noisy,) = small_gan.train(small_gan.make(generator=Noisy()), BATCH)
    _, (plain,) = small_gan.train(small_gan.make(), BATCH)
    assert abs(plain["logits/fake"] - noisy["logits/fake"]) > 1e-4


def test_sampler_gives_each_sample_a_key_of_its_own():
    gan = small_gan.make(generator=Noisy())
    state = gan_jax.init(gan, jax.random.key(0), BATCH)
    sample = gan_jax.make_sampler(gan)
    latents = jnp.zeros((6, LATENT))
    images = sample(state.ema, latents, key=jax.random.key(1))
    assert len(np.unique(np.asarray(images)[:, 0, 0, 0])) == 6
    np.testing.assert_allclose(
        images[:2], sample(state.ema, latents[:2], key=jax.random.key(1)), rtol=1e-6
    )  # a sample does not depend on how many follow it
    np.testing.assert_array_equal(
        gan_jax.make_sampler(small_gan.make())(state.ema, latents),
        small_gan.generate(state.ema["params"], latents),
    )


def test_truncation_needs_a_generator_that_defines_one():
    sample = gan_jax.make_sampler(small_gan.make())
    variables = small_gan.Generator().init(jax.random.key(0), jnp.zeros((1, LATENT)))
    with pytest.raises(ValueError, match=r"truncation=0.5, but Generator has none"):
        sample(variables, jnp.zeros((1, LATENT)), truncation=0.5)

    class Truncated(small_gan.Generator):
        def apply(self, variables, latents, truncation=1.0):
            return super().apply(variables, truncation * latents)

    latents = jnp.ones((2, LATENT))
    np.testing.assert_array_equal(
        gan_jax.make_sampler(small_gan.make(generator=Truncated()))(variables, latents, truncation=0.5),
        sample(variables, 0.5 * latents),
    )


# Spectral norm.


class Normed(nn.Module):
    @nn.compact
    def __call__(self, image):
        return Dense(1, spectral=True, name="logit")(image.reshape(image.shape[0], -1))[:, 0]


class Around(nn.Module):
    """A module that wraps another module and has no `refresh` that would call the inner one."""

    inner: nn.Module

    @nn.compact
    def __call__(self, image):
        return self.inner(image)


class Iterating(Around, SpectralNormed):
    pass


@pytest.mark.parametrize("network", [Normed(), Around(Normed()), Around(Iterating(Normed()))])
def test_spectral_norm_that_nothing_iterates_is_refused(network):
    name = type(network).__name__
    with pytest.raises(ValueError, match=f"{name} of test_networks has spectral norm, but no `refresh`.*Spectral"):
        small_gan.train(small_gan.make(discriminator=network), BATCH)


def test_spectral_norm_is_iterated_through_a_wrapper():
    gan = small_gan.make(discriminator=Iterating(Normed()), discriminator_tx=gan_jax.optimizers.sgd(0.0))
    state = gan_jax.init(gan, jax.random.key(0), BATCH)
    # The kernel has one output, so one iteration is exact from any start: u is 1 or -1.
    u = {"inner": {"logit": {"u": jnp.full(1, -0.3)}}}
    state = state.replace(discriminator=state.discriminator.replace(model_state={"spectral": u}))
    after, _ = small_gan.train(gan, BATCH, state=state)
    (u,) = jax.tree.leaves(after.discriminator.model_state["spectral"])
    np.testing.assert_allclose(u, [-1.0], rtol=1e-6)


# What is refused.


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_a_network_without_params_is_refused(player):
    class Bare:
        def init(self, key, x):
            return [jnp.zeros(3)]

        def apply(self, variables, x):
            return variables[0]

    with pytest.raises(TypeError, match=r"Bare\.init must return a mapping with 'params'.*returned list"):
        gan_jax.init(small_gan.make(**{player: Bare()}), jax.random.key(0), BATCH)


def test_a_generator_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"samples of shape \(2, 2, 1\), but the batch's are \(3, 3, 1\)"):
        gan_jax.init(small_gan.make(), jax.random.key(0), {"image": jnp.zeros((4, 3, 3, 1))})


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"disc_steps": 0}, "disc_steps must be at least 1, got 0"),
        ({"microbatches": 0}, "microbatches must be at least 1, got 0"),
        (
            {"discriminator_terms": (gan_jax.Term(1.0, gan_jax.penalties.r1(), 0),)},
            "penalty r1: every must be at least 1",
        ),
        ({"generator_terms": (gan_jax.Term(1.0, gan_jax.penalties.reconstruction()),) * 2}, "different names"),
    ],
)
def test_a_game_that_makes_no_sense_is_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        small_gan.make(**keywords)


def test_init_reads_shapes_only():
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), BATCH)
    gan, key = small_gan.make(), jax.random.key(0)
    jax.tree.map(
        np.testing.assert_array_equal,
        gan_jax.init(gan, key, shapes).generator,
        gan_jax.init(gan, key, BATCH).generator,
    )
    assert jax.eval_shape(lambda: gan_jax.init(gan, key, shapes)).step.dtype == jnp.int32


# A population.


@pytest.mark.slow
def test_a_population_is_a_vmap_over_games_built_from_traced_numbers():
    def run(rates, weight):
        gan = small_gan.make(
            generator_tx=gan_jax.optimizers.sgd(rates[0]),
            discriminator_tx=gan_jax.optimizers.adam(rates[1]),
            discriminator_terms=(gan_jax.Term(weight, gan_jax.penalties.r1()),),
        )
        state, step = gan_jax.init(gan, jax.random.key(0), BATCH), gan_jax.make_train_step(gan)
        for _ in range(2):
            state, metrics = step(state, BATCH)
        return state.generator.params, state.discriminator.params, metrics

    rates, weights = jnp.asarray([[0.1, 0.01], [0.3, 0.003]]), jnp.asarray([0.1, 1.0])
    together = jax.jit(jax.vmap(run))(rates, weights)
    alone = jax.jit(run)
    for i in range(2):
        jax.tree.map(
            lambda many, one, i=i: np.testing.assert_allclose(many[i], one, rtol=1e-5, atol=1e-7),
            together,
            alone(rates[i], weights[i]),
        )
    assert abs(together[2]["logits/real"][0] - together[2]["logits/real"][1]) > 1e-4
