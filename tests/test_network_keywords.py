"""Which keywords a network gets, by its signature."""

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
from small_gan import LATENT

pytestmark = pytest.mark.usefixtures("quick_compile")
BATCH = small_gan.batches(8)


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
    # Its own update reads real and generated images in one pass.
    assert set(gan.discriminator.seen) == {((n,), (n,), True, None, None) for n in (8, 16)}
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
