"""Which programs keep the samples of a batch apart."""

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


@pytest.mark.parametrize("name", [*SMALL, *LIBRARIES, *LARGE, *GENERATORS])
def test_networks_keep_samples_apart(name):
    network = (SMALL | LIBRARIES | LARGE | GENERATORS)[name]()
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


def over_samples(x):
    return jax.lax.scan(lambda total, row: (total + row, total), jnp.zeros(3), x)[1]


def through_a_loop(x):
    """The third pass reads what the second has mixed."""
    carry = (x, x, x)
    return jax.lax.fori_loop(0, 3, lambda i, c: (c[1], c[2], c[0][::-1]), carry)[0]


def in_a_branch(x):
    return jax.lax.cond(jnp.ones(()) > 0, lambda x: x, lambda x: x - x.mean(axis=0), x)


@jax.custom_vjp
def with_own_derivative(x):
    return jnp.cumsum(x, axis=0)


with_own_derivative.defvjp(lambda x: (x, None), lambda _, g: (g,))

MIXTURES = {
    "mean": (lambda x: x - x.mean(axis=0), "reduce_sum"),
    "softmax": (lambda x: jax.nn.softmax(x, axis=0), "reduce_max"),
    "normalised by the largest": (lambda x: x / jnp.abs(x).max(), "reduce_max"),
    "reversed": (lambda x: x[::-1], "rev"),
    "rolled": (lambda x: jnp.roll(x, 1, axis=0), "slice"),
    "every second": (lambda x: jnp.repeat(x[::2], 2, axis=0), "slice"),
    "indexed": (lambda x: x[jnp.array([0, 0, 1, 2, 3, 4])], "gather"),
    "sorted": (lambda x: jnp.sort(x, axis=0), "sort"),
    "median": (lambda x: x - jnp.median(x, axis=0), "reduce_or"),
    "cumulative": (lambda x: jnp.cumsum(x, axis=0), "cumsum"),
    "padded": (lambda x: jnp.pad(x, ((1, 0), (0, 0)))[:-1], "pad"),
    "joined": (lambda x: jnp.concatenate([x[:, :1], x[:, 1:2]])[:B], "concatenate"),
    "attention between samples": (lambda x: jax.nn.softmax(x @ x.T) @ x, "dot_general"),
    "written": (lambda x: x.at[0].set(0.0), "scatter"),
    "matrix over the batch": (lambda x: jnp.ones((B, B)) @ x, "dot_general"),
    "transposed": (lambda x: jnp.sum(x.T, axis=1), "reduce_sum"),
    "samples last": (lambda x: x.T, "output"),
    "rows of a sample": (lambda x: x.reshape(-1), "output"),
    "numbers of rows": (lambda x: (x, jnp.arange(B)), "output"),
    "merged behind": (lambda x: x.T.reshape(-1), "reshape"),
    "groups": (lambda x: x.reshape(2, B // 2, 3), "reshape"),
    "merged, then over rows": (lambda x: x.reshape(-1, 1) - x.reshape(-1, 1).mean(axis=0), "reduce_sum"),
    "window over the batch": (lambda x: nn.avg_pool(x[None], (2,), padding="SAME")[0], "reduce_window_sum"),
    "positions": (lambda x: x + jnp.arange(B)[:, None], "add"),
    "noise of the batch": (lambda x: x + jax.random.normal(jax.random.key(0), x.shape), "add"),
    "constants of rows": (lambda x: x * np.linspace(0, 1, B, dtype=np.float32)[:, None], "mul"),
    "scan over samples": (over_samples, "scan"),
    "in a loop": (through_a_loop, "rev"),
    "in a branch": (in_a_branch, "reduce_sum"),
    "own derivative": (with_own_derivative, "cumsum"),
    "remat": (jax.checkpoint(lambda x: x - x.mean(axis=0)), "reduce_sum"),
    "unknown": (lambda x: jax.pure_callback(lambda x: x, x, x), "pure_callback"),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_operations_that_mix_samples(name):
    function, primitive = MIXTURES[name]
    assert first_mixing(function, jnp.ones((B, 3))) == primitive


@pytest.mark.parametrize("groups", [1, 2])
def test_a_collective_mixes_samples(groups):
    traced = jax.make_jaxpr(lambda x: x - jax.lax.pmean(x, "devices"), axis_env=[("devices", groups)])(
        jnp.ones((B, 3))
    )
    assert mixing_primitive(traced, [0]) is not None


APART = {
    "ranks": lambda x: jnp.argsort(x, axis=1) + jnp.argmax(x, axis=1)[:, None],
    "reversed": lambda x: jnp.roll(x[:, ::-1], 1, axis=1),
    "take_along_axis": lambda x: jnp.take_along_axis(x, jnp.argsort(x, axis=1), axis=1),
    "written": lambda x: x.at[:, 1].set(0.0),
    "one hot": lambda x: jax.nn.one_hot(jnp.argmax(x, axis=1), 3),
    "outer product": lambda x: jnp.einsum("bi,bj->bij", x, x),
    "factors": jax.vmap(lambda row: jnp.linalg.cholesky(jnp.eye(3) + jnp.outer(row, row))),
    "spectrum": lambda x: jnp.abs(jnp.fft.rfft(x, axis=1)),
    "merged and split": lambda x: jnp.tanh(x.reshape(-1, 1) @ jnp.ones((1, 2))).reshape(B, 3, 2).sum(axis=1),
    "over time": lambda x: jnp.moveaxis(jax.lax.scan(lambda c, t: (c + t, c * t), jnp.zeros(B), x.T)[1], 0, 1),
    "own kernels": jax.vmap(lambda row: jnp.convolve(row, row)),
    "in a branch": lambda x: jax.lax.cond(x.ndim > 1, lambda x: x, jnp.zeros_like, x),
    "mapped": lambda x: jax.lax.map(lambda i: x * i, jnp.arange(3)).sum(axis=0),
    "a constant": lambda x: jnp.where(x > 0, jnp.full((B, 1), 2.0), 0.0),
    "gradient": jax.vmap(jax.grad(lambda row: jnp.sum(jax.nn.softmax(row) ** 2))),
}


@pytest.mark.parametrize("name", APART)
def test_operations_that_keep_samples_apart(name):
    assert first_mixing(APART[name], jnp.ones((B, 3))) is None


def test_wrong_axes_are_refused():
    traced = jax.make_jaxpr(jnp.add)(jnp.ones((4, 3)), jnp.ones((4, 3)))
    with pytest.raises(ValueError, match="2 inputs, but 1 axes"):
        mixing_primitive(traced, [0])
    with pytest.raises(ValueError, match="same number of samples"):
        mixing_primitive(traced, [0, 1])
    assert mixing_primitive(traced, [None, None]) is None


def test_top_k_along_the_samples():
    traced = jax.make_jaxpr(lambda x: jax.lax.top_k(x.T, 2)[0])(jnp.ones((4, 3)))
    assert mixing_primitive(traced, [0]) is not None
    traced = jax.make_jaxpr(lambda x: jax.lax.top_k(x, 2)[0])(jnp.ones((4, 3)))
    assert mixing_primitive(traced, [0]) is None
