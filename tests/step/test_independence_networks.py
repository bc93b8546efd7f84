"""Which networks and augmentations keep the samples of a batch apart."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import architectures
from gan_jax import networks
from gan_jax.models import biggan, dcgan, dcgan_studiogan, mlp, r3gan, sagan, sngan, stylegan2
from gan_jax.networks import call_network, init_network
from gan_jax.step.independence import mixing_primitive
from quick import some

pytestmark = pytest.mark.usefixtures("quick_compile")

B, CLASSES = 6, 3
IMAGE = (8, 8, 1)
WIDTHS = {"widths": (8, 4), "classes": CLASSES}
STYLEGAN2: dict[str, Any] = {"channel_base": 32, "channel_max": 4, "classes": CLASSES}


def example(shape: tuple[int, ...]) -> tuple:
    keys = jax.random.split(jax.random.key(1), B)
    x = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
    return x, jnp.arange(B) % CLASSES, keys


def first_mixing(function: Any, *inputs: Any) -> str | None:
    """The answer for a function whose inputs all have their samples in front."""
    traced = jax.make_jaxpr(function)(*inputs)
    return mixing_primitive(traced, [0] * len(traced.jaxpr.invars))


def mixing_in(network: Any, shape: tuple[int, ...], variables: Any = None) -> str | None:
    x, label, keys = example(shape)
    if variables is None:
        variables = jax.eval_shape(lambda key: initialised(network, key, x, label, keys), jax.random.key(0))
    traced = jax.make_jaxpr(lambda *inputs: run(network, *inputs))(variables, x, label, keys)
    return mixing_primitive(traced, [None] * len(jax.tree.leaves(variables)) + [0, 0, 0])


def initialised(network: Any, key: Any, x: Any, label: Any, keys: Any) -> tuple:
    return init_network(network, key, x, label=label, train=False, axis_name=None, keys=keys)


def run(network: Any, variables: tuple, x: Any, label: Any, keys: Any) -> Any:
    return call_network(network, *variables, x, label=label, axis_name=None, keys=keys)[0]


def assert_rows_are_apart(network: Any, shape: tuple[int, ...]) -> None:
    """Another input, label and key of one sample change the output of that sample, and no other number."""
    x, label, keys = example(shape)
    variables = jax.jit(lambda key: initialised(network, key, x, label, keys))(jax.random.key(0))
    call = jax.jit(lambda *inputs: run(network, variables, *inputs))
    other = (x.at[2].add(1.0), label.at[2].set(0), keys.at[2].set(jax.random.key(9)))
    before, after = call(x, label, keys), call(*other)
    changed = np.abs(np.asarray(before - after)).reshape(B, -1).max(axis=1) > 0
    assert changed.tolist() == [i == 2 for i in range(B)]


class Dropped(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Dense(8)(x.reshape(len(x), -1)))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(1)(nn.LayerNorm()(x))


class Attending(nn.Module):
    """Patches as tokens; the rows of the batch and of a map lie on one axis for a while."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (2, 2), strides=(2, 2))(x)
        x = nn.GroupNorm(2)(x)
        tokens = nn.Dense(8)(x.reshape(-1, 8)).reshape(len(x), -1, 8)
        tokens = nn.MultiHeadDotProductAttention(2)(tokens, tokens)
        x = nn.max_pool(tokens.reshape(len(x), 4, 4, 8), (2, 2), strides=(2, 2))
        return jnp.sort(x, axis=-1).mean(axis=(1, 2)) @ jnp.ones((8, 1))


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.asarray(nn.RNN(nn.GRUCell(4))(x[..., 0]))[:, -1]


class NNXNetwork(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.norm = nnx.LayerNorm(4, rngs=rngs)
        self.dropout, self.out = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(4, 1, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(self.norm(self.conv(x))).mean(axis=(1, 2)))


class EquinoxNetwork(eqx.Module):
    conv: eqx.nn.Conv2d
    norm: eqx.nn.GroupNorm
    dropout: eqx.nn.Dropout
    mlp: eqx.nn.MLP

    def __init__(self, key):
        self.conv = eqx.nn.Conv2d(1, 4, 3, key=key)
        self.norm, self.dropout = eqx.nn.GroupNorm(2, 4), eqx.nn.Dropout(0.5)
        self.mlp = eqx.nn.MLP(144, 1, 8, 1, key=key)

    def __call__(self, x, key):
        x = self.norm(self.conv(jnp.moveaxis(x, -1, 0)))
        return self.mlp(self.dropout(x.reshape(-1), key=key))


def from_haiku() -> Any:
    import haiku as hk

    def forward(x, is_training):
        x = hk.Conv2D(4, 3)(x)
        x = hk.dropout(hk.next_rng_key(), 0.5, x) if is_training else x
        return hk.Linear(1)(hk.Flatten()(hk.AvgPool((2, 2, 1), (2, 2, 1), "SAME")(x)))

    return networks.from_haiku(forward)


SMALL = {
    "mlp": lambda: mlp.Discriminator(width=8, layers=1, classes=CLASSES),
    "dropout": Dropped,
}
LIBRARIES = {
    "attention": Attending,
    "recurrent": Recurrent,
    "nnx": lambda: networks.from_nnx(NNXNetwork),
    "to_linen": lambda: nnx.bridge.to_linen(NNXNetwork),
    "equinox": lambda: networks.from_equinox(EquinoxNetwork),
    "haiku": from_haiku,
}
GENERATORS = {
    "mlp G": lambda: mlp.Generator(IMAGE, width=8, layers=1, classes=CLASSES),
    "r3gan G": lambda: r3gan.Generator(IMAGE, cardinality=2, blocks=1, **WIDTHS),
}
LARGE = {
    "dcgan": lambda: dcgan.Discriminator(width=4, norm="none"),
    "dcgan, spectral": lambda: dcgan.Discriminator(width=4, norm="spectral"),
    "sngan": lambda: sngan.Discriminator(**WIDTHS),
    "sagan": lambda: sagan.Discriminator(**WIDTHS),
    "biggan": lambda: biggan.Discriminator(**WIDTHS, spectral_vectors="uv"),
    "r3gan": lambda: r3gan.Discriminator(cardinality=2, blocks=1, **WIDTHS),
    "stylegan2": lambda: stylegan2.Discriminator(group=1, **STYLEGAN2),
}
MIXING = {
    "dcgan": (lambda: dcgan.Discriminator(width=4, norm="batch"), (16, 16, 1)),
    "dcgan_studiogan": (lambda: dcgan_studiogan.Generator((32, 32, 3)), (4,)),
    "stylegan2": (lambda: stylegan2.Discriminator(group=2, **STYLEGAN2), IMAGE),
}


EVERY = SMALL | LIBRARIES | LARGE | GENERATORS


@pytest.mark.parametrize("name", some(EVERY, *SMALL, "attention", "nnx", "dcgan, spectral", "r3gan G"))
def test_networks_keep_samples_apart(name):
    network = EVERY[name]()
    assert mixing_in(network, (4,) if name in GENERATORS else IMAGE) is None


@pytest.mark.parametrize("name", MIXING)
def test_networks_that_mix_samples(name):
    make, shape = MIXING[name]
    assert mixing_in(make(), shape) in ("reduce_sum", "reshape")


@pytest.mark.parametrize("name", list(SMALL)[:2])
def test_what_is_accepted_keeps_numbers_apart(name):
    assert_rows_are_apart(SMALL[name](), IMAGE)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [*list(SMALL)[2:], *LIBRARIES, *LARGE, *GENERATORS])
def test_what_is_accepted_keeps_numbers_apart_in_each_network(name):
    assert_rows_are_apart((SMALL | LIBRARIES | LARGE | GENERATORS)[name](), (4,) if name in GENERATORS else IMAGE)


@pytest.mark.parametrize("name", architectures.AUGMENTATIONS)
def test_augmentations_keep_samples_apart(name):
    augmentation = architectures.AUGMENTATIONS[name]().augment
    image, _, keys = example((8, 8, 3))
    assert (
        first_mixing(lambda image, key: augmentation.apply(augmentation.init(), image, key), image, keys) is None
    )
