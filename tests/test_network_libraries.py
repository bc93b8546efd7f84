"""Networks of any library train in the same GAN: hand-written, Linen, Flax NNX and Equinox."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import gan_jax
import small_gan
from small_gan import LATENT, SHAPE, WIDTH

pytestmark = pytest.mark.usefixtures("quick_compile")

# One small GAN in four libraries. Each has `kernel`, `bias` and `out`; `load_*` puts in the hand-written weights.


class LinenGenerator(nn.Module):
    @nn.compact
    def __call__(self, latents):
        hidden = jnp.tanh(nn.Dense(WIDTH)(latents))
        return jnp.tanh(nn.Dense(4, use_bias=False)(hidden)).reshape(-1, *SHAPE)


class LinenDiscriminator(nn.Module):
    @nn.compact
    def __call__(self, image):
        hidden = jnp.tanh(nn.Dense(WIDTH)(image.reshape(-1, 4)))
        return nn.Dense(1, use_bias=False)(hidden)


def load_linen(params, weights):
    return {
        "Dense_0": {"kernel": weights["kernel"], "bias": weights["bias"]},
        "Dense_1": {"kernel": weights["out"].reshape(params["Dense_1"]["kernel"].shape)},
    }


class NNXPlayer(nnx.Module):
    def __init__(self, inputs, outputs, rngs):
        self.hidden = nnx.Linear(inputs, WIDTH, rngs=rngs)
        self.out = nnx.Linear(WIDTH, outputs, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return self.out(jnp.tanh(self.hidden(x.reshape(x.shape[0], -1))))


class NNX:
    """A network made of an NNX module, which it splits into graph and parameters and merges for each call."""

    def __init__(self, make, finish):
        self.make, self.finish = make, finish

    def init(self, key, x):
        return {"params": nnx.split(self.make(nnx.Rngs(params=key)))[1]}

    def apply(self, variables, x):
        graph, _ = nnx.split(nnx.eval_shape(lambda: self.make(nnx.Rngs(params=0))))
        return self.finish(nnx.merge(graph, variables["params"])(x))


def load_nnx(params, weights):
    out = params["out"]["kernel"]
    params = jax.tree.map(lambda x: x, params)
    params["hidden"]["kernel"].set_value(weights["kernel"])
    params["hidden"]["bias"].set_value(weights["bias"])
    params["out"]["kernel"].set_value(weights["out"].reshape(out.get_value().shape))
    return params


class EquinoxPlayer(eqx.Module):
    hidden: eqx.nn.Linear
    out: eqx.nn.Linear

    def __init__(self, inputs, outputs, key):
        first, second = jax.random.split(key)
        self.hidden = eqx.nn.Linear(inputs, WIDTH, key=first)
        self.out = eqx.nn.Linear(WIDTH, outputs, use_bias=False, key=second)

    def __call__(self, x):
        return self.out(jnp.tanh(self.hidden(x.reshape(-1))))


class Equinox:
    """A network made of an Equinox module: its arrays are the parameters; `make` gives all other fields again."""

    def __init__(self, make, finish):
        self.make, self.finish = make, finish

    def init(self, key, x):
        return {"params": eqx.filter(self.make(key), eqx.is_array)}

    def apply(self, variables, x):
        abstract = eqx.filter_eval_shape(self.make, jax.random.key(0))
        static = eqx.filter(abstract, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct), inverse=True)
        return self.finish(jax.vmap(eqx.combine(variables["params"], static))(x))


def load_equinox(params, weights):
    where = lambda p: (p.hidden.weight, p.hidden.bias, p.out.weight)  # noqa: E731
    out = weights["out"].reshape(WIDTH, -1).T
    return eqx.tree_at(where, params, (weights["kernel"].T, weights["bias"], out))


def to_image(x):
    return jnp.tanh(x).reshape(-1, *SHAPE)


def squeeze(x):
    return x[:, 0]


KINDS = {
    "hand": (small_gan.Generator(), small_gan.Discriminator(), lambda params, weights: weights),
    "linen": (LinenGenerator(), LinenDiscriminator(), load_linen),
    "nnx": (
        NNX(lambda rngs: NNXPlayer(LATENT, 4, rngs), to_image),
        NNX(lambda rngs: NNXPlayer(4, 1, rngs), squeeze),
        load_nnx,
    ),
    "equinox": (
        Equinox(lambda key: EquinoxPlayer(LATENT, 4, key), to_image),
        Equinox(lambda key: EquinoxPlayer(4, 1, key), squeeze),
        load_equinox,
    ),
}
BATCH = small_gan.batches(8)


@pytest.fixture(scope="module")
def by_hand():
    gan = small_gan.make(discriminator_terms=(gan_jax.Term(0.5, gan_jax.penalties.r1()),))
    weights = gan_jax.init(gan, jax.random.key(5), BATCH)
    return weights, small_gan.train(gan, BATCH, steps=3, state=jax.tree.map(jnp.copy, weights))[1]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network_plays_the_same_game(kind, by_hand):
    weights, expected = by_hand
    generator, discriminator, load = KINDS[kind]
    gan = small_gan.make(
        generator=generator,
        discriminator=discriminator,
        discriminator_terms=(gan_jax.Term(0.5, gan_jax.penalties.r1()),),
    )
    state = gan_jax.init(gan, weights.key, BATCH)
    _, own = small_gan.train(gan, BATCH, steps=3, state=jax.tree.map(jnp.copy, state))
    assert all(np.isfinite(value) for metrics in own for value in metrics.values())

    def with_weights(player, weights):
        return player.replace(params=jax.tree.map(jnp.copy, load(player.params, weights)))

    state = state.replace(
        key=jnp.copy(weights.key),
        generator=with_weights(state.generator, weights.generator.params),
        discriminator=with_weights(state.discriminator, weights.discriminator.params),
    )
    _, metrics = small_gan.train(gan, BATCH, steps=3, state=state)
    for ours, theirs in zip(metrics, expected):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, err_msg=name)
