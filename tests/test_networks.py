"""What a GAN passes to its networks, such as labels and keys, and which networks it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import gan_jax
import small_gan
from gan_jax import networks
from gan_jax.models.layers import Dense, SpectralNormed
from small_gan import LATENT, SHAPE

pytestmark = pytest.mark.usefixtures("quick_compile")
BATCH = small_gan.batches(8)


# Keywords.


class Recording:
    """A hand-written network that names every keyword and records the arguments of each call."""

    def __init__(self, network):
        self.network, self.seen = network, []

    def init(self, key, x, *, label, train, axis_name, keys):
        return self.network.init(key, x)

    def apply(self, variables, x, *, label, train, axis_name, keys, mutable=None):
        shapes = label if label is None else label.shape, keys if keys is None else keys.shape
        self.seen.append((*shapes, train, axis_name, mutable))
        return self.network.apply(variables, x) + (0.0 if label is None else 0.0 * jnp.sum(label))


def test_networks_get_what_they_name():
    gan = small_gan.make(
        generator=Recording(small_gan.Generator()), discriminator=Recording(small_gan.Discriminator())
    )
    batch = small_gan.batches(8, label=True)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    gan.generator.seen.clear()
    gan.discriminator.seen.clear()
    small_gan.train(gan, batch, state=state)
    # A network without state gets no `mutable`, because with it a network returns a pair.
    assert set(gan.generator.seen) == {((8,), (8,), True, None, None)}
    assert set(gan.discriminator.seen) == {((8,), (8,), True, None, None)}
    gan_jax.make_sampler(gan)(gan_jax.init(gan, jax.random.key(0), batch).ema, jnp.zeros((2, LATENT)))
    assert gan.generator.seen[-1] == (None, None, False, None, None)


def test_a_network_with_any_keyword_gets_all():
    class Open(small_gan.Generator):
        def apply(self, variables, latents, **keywords):
            self.seen = keywords
            return super().apply(variables, latents)

    gan = small_gan.make(generator=Open())
    small_gan.train(gan, BATCH)
    assert {"label", "train", "axis_name", "keys"} <= set(gan.generator.seen)


class Unhashable:
    """A callable object that cannot be the key of a cache."""

    __hash__ = None

    def __call__(self, variables, x, *, train):
        return x


class Functions:
    def __init__(self, apply):
        self.apply = apply

    def init(self, key, x):
        return {"params": {}}


class NNXDeterministic(nnx.Module):
    def __init__(self, rngs):
        pass

    def __call__(self, x, deterministic):
        return x


class LinenTraining(nn.Module):
    @nn.compact
    def __call__(self, x, training):
        return x


class WithoutSignature:
    __signature__ = "none"

    def __call__(self, variables, x):
        return x


def takes(*names):
    return Functions(eval(f"lambda variables, x, {', '.join(names)}: x"))


OFFERED = {"label": None, "train": True, "axis_name": None, "keys": None}
OF_SEQUENTIAL = (LinenTraining(), nn.relu)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (takes("train"), {"train": True}),
        (takes("training"), {"training": True}),
        (takes("is_training"), {"is_training": True}),
        (takes("deterministic"), {"deterministic": False}),
        (takes("use_running_average"), {"use_running_average": False}),
        (takes("train", "deterministic"), {"train": True, "deterministic": False}),
        (takes("**anything"), OFFERED),
        (takes("training", "**anything"), {**OFFERED, "training": True}),
        (Functions(Unhashable()), {"train": True}),
        (Functions(WithoutSignature()), {}),
        (Functions(functools.partial(Unhashable(), train=False)), {}),  # what is bound stays bound
        (LinenTraining(), {"training": True}),
        (nn.remat(LinenTraining)(), {"training": True}),
        (nn.jit(LinenTraining, static_argnames="training")(), {"training": True}),
        (nn.Sequential([LinenTraining(), nn.relu]), {"training": True}),
        (nn.Sequential(OF_SEQUENTIAL), {"training": True}),
        (nn.Sequential([nn.Sequential(OF_SEQUENTIAL), nn.relu]), {"training": True}),
        (nn.Sequential([lambda x, label: x, LinenTraining()]), {"label": None}),
        (nn.Sequential([nn.Dense(3), LinenTraining()]), {}),
        (nnx.bridge.to_linen(NNXDeterministic), {"deterministic": False}),
        (nnx.bridge.ToLinen(lambda rngs: NNXDeterministic(rngs)), {}),
    ],
)
def test_which_keywords_a_network_gets(network, expected):
    assert networks.accepted(network, "apply", OFFERED) == expected
    if "train" in expected or "deterministic" in expected:
        sampling = networks.accepted(network, "apply", {**OFFERED, "train": False})
        assert sampling == {k: not v if isinstance(v, bool) else v for k, v in expected.items()}


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, image, deterministic):
        x = nn.BatchNorm(use_running_average=deterministic, momentum=0.5)(image.reshape(len(image), -1))
        return nn.Dense(1)(x)[:, 0]


@pytest.mark.parametrize("nested", [False, True])
def test_an_nnx_sequential_gets_what_its_first_layer_names(nested):
    """Its own signature takes any keyword, and hands them to the first layer alone."""

    def make(rngs):
        layers = nnx.Sequential(nnx.Linear(2, 3, rngs=rngs), nnx.relu, nnx.Linear(3, 1, rngs=rngs))
        return nnx.Sequential(layers, nnx.relu) if nested else layers

    network = networks.from_nnx(make)
    image = jnp.ones((4, 2))
    variables = network.init(jax.random.key(0), image)
    for train in (False, True):
        keywords = networks.accepted(network, "apply", {**OFFERED, "label": jnp.zeros(4, int), "train": train})
        assert network.apply(variables, image, **keywords).shape == (4, 1)
    labelled = networks.from_nnx(lambda rngs: nnx.Sequential(lambda x, label: x + label[:, None], nnx.relu))
    keywords = networks.accepted(labelled, "apply", {**OFFERED, "label": jnp.arange(4)})
    assert labelled.apply({"params": {}}, image, **keywords)[3, 0] == 4


def test_batch_statistics_move_under_another_name_of_train():
    gan = small_gan.make(discriminator=Normalised())
    state, _ = small_gan.train(gan, BATCH)
    (mean,) = (leaf["mean"] for leaf in state.discriminator.model_state["batch_stats"].values())
    assert np.abs(mean).max() > 1e-3


def test_statistics_names():
    assert networks.statistics_names(small_gan.Generator()) == ("batch_stats",)
    assert networks.statistics_names(networks.from_functions(takes, takes, statistics=("a", "b"))) == ("a", "b")
    wrong = Functions(takes)
    wrong.statistics = "averages"
    with pytest.raises(TypeError, match=r"Functions.statistics must be a tuple of names.*it is 'averages'"):
        networks.statistics_names(wrong)


def test_statistics_of_16_bits_move():
    """They are kept in float32: steps of 0.4 % of 1.0 would round to nothing in bfloat16."""

    def init(key, x):
        return {
            "params": jnp.zeros(()),
            "batch_stats": {"mean": jnp.zeros((), jnp.bfloat16), "count": jnp.int32(0)},
        }

    def apply(variables, x, mutable=None):
        mean, count = variables["batch_stats"]["mean"], variables["batch_stats"]["count"]
        return x, {"batch_stats": {"mean": 0.999 * mean + 0.001 * jnp.mean(x), "count": count + 1}}

    network = networks.from_functions(init, apply)
    params, state = networks.init_network(network, jax.random.key(0), jnp.ones(3))
    for _ in range(500):
        _, state = networks.call_network(network, params, state, np.ones(3, np.float64))
    assert state["batch_stats"]["mean"].dtype == jnp.float32
    assert state["batch_stats"]["count"].dtype == jnp.int32
    np.testing.assert_allclose(state["batch_stats"]["mean"], 1 - 0.999**500, rtol=1e-3)


def test_a_network_whose_keywords_are_traced_is_told():
    class Branching(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return x if train else 2 * x

    with pytest.raises(ValueError, match=r"nn\.remat and nn\.jit trace the keywords of the network"):
        networks.call_network(nn.remat(Branching)(), {}, {}, jnp.ones((2, 3)))


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
