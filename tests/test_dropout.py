"""Dropout inside networks: each sample has a mask of its own, in every layer and every library."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import small_gan
from gan_jax import networks
from gan_jax.models.layers import Dropout

pytestmark = pytest.mark.usefixtures("quick_compile")
SIZE, WIDTH = 64, 64
KEYS = jax.random.split(jax.random.key(0), SIZE)
ONES = jnp.ones((SIZE, WIDTH))


class Twice(nn.Module):
    """Two layers of dropout, or one layer that is called twice."""

    kind: str

    @nn.compact
    def __call__(self, x, train, keys):
        def drop(layer, x):
            if isinstance(layer, Dropout):
                return layer(x, keys, train)
            return layer(x, deterministic=not train)

        kind = Dropout if self.kind.startswith("layers") else nn.Dropout
        first = kind(0.5)
        second = first if self.kind.endswith("again") else kind(0.5)
        return drop(second, drop(first, x))


class Block(nn.Module):
    """One layer, as a body of `nn.scan` too."""

    @nn.compact
    def __call__(self, x, _=None):
        return nn.Dropout(0.5, deterministic=False)(x), None


class Lifted(nn.Module):
    kind: str

    @nn.compact
    def __call__(self, x):
        if self.kind == "scan":
            return nn.scan(Block, split_rngs={"dropout": True}, length=2)()(x, None)[0]
        lift = nn.jit if self.kind == "jit" else nn.remat
        return lift(Block)()(lift(Block)()(x)[0])[0]


class NNXTwice(nnx.Module):
    def __init__(self, rngs):
        self.first, self.second = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.second(self.first(x))


class EquinoxTwice(eqx.Module):
    dropout: eqx.nn.Dropout

    def __init__(self, key):
        self.dropout = eqx.nn.Dropout(0.5)

    def __call__(self, x, key):
        first, second = (None, None) if key is None else jax.random.split(key)
        return self.dropout(self.dropout(x, key=first), key=second)


def haiku_twice(x, is_training):
    import haiku as hk

    for _ in range(2):
        x = hk.dropout(hk.next_rng_key(), 0.5, x) if is_training else x
    return x


TWICE = {
    **{kind: lambda kind=kind: Twice(kind) for kind in ("linen", "linen again", "layers", "layers again")},
    **{kind: lambda kind=kind: Lifted(kind) for kind in ("jit", "remat", "scan")},
    "nnx": lambda: networks.from_nnx(NNXTwice),
    "to_linen": lambda: nnx.bridge.to_linen(NNXTwice),
    "equinox": lambda: networks.from_equinox(EquinoxTwice),
    "haiku": lambda: networks.from_haiku(haiku_twice),
}


def call(network, x, keys):
    return networks.call_network(network, {}, {}, x, label=None, axis_name=None, keys=keys)[0]


@pytest.mark.parametrize("kind", TWICE)
def test_masks_of_two_layers_are_independent_and_belong_to_samples(kind):
    network = TWICE[kind]()
    both = np.asarray(jax.jit(lambda x, keys: call(network, x, keys))(ONES, KEYS))
    assert set(np.unique(both)) == {0.0, 4.0}
    assert abs((both > 0).mean() - 0.25) < 0.03  # 5 sigma; one mask twice would keep 0.5
    assert len(np.unique(both, axis=0)) == SIZE
    np.testing.assert_array_equal(call(network, ONES[:8], KEYS[8:16]), both[8:16])
    if kind not in ("jit", "remat", "scan"):  # they have no argument `train`
        np.testing.assert_array_equal(networks.sample_network(network, {"params": {}}, ONES, keys=None), ONES)


@pytest.mark.parametrize("shape", [(-1, 4), (2 * SIZE, -1)])
def test_another_leading_axis_is_refused(shape):
    """Rows `[B * T, C]` and times `[T, B]` look alike where T is a multiple of B: neither is cut by samples."""

    class Rows(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dropout(0.5, deterministic=False)(x.reshape(shape)).reshape(x.shape)

    with pytest.raises(ValueError, match="its leading axis must be the batch"):
        call(Rows(), ONES, KEYS)


def test_attributes_of_linen_dropout_count():
    class Wide(nn.Module):
        rate: float

        @nn.compact
        def __call__(self, x, train):
            return nn.Dropout(self.rate, broadcast_dims=(1,), deterministic=not train)(x)

    x = call(Wide(0.25), ONES, KEYS)
    np.testing.assert_array_equal(x, jnp.broadcast_to(x[:, :1], x.shape))
    np.testing.assert_allclose(np.unique(x), [0, 4 / 3], rtol=1e-6)
    np.testing.assert_array_equal(call(Wide(0.0), ONES, KEYS), ONES)
    np.testing.assert_array_equal(call(Wide(1.0), ONES, KEYS), 0 * ONES)


class Draws(nn.Module):
    """Draws from one of Linen's random streams."""

    stream: str
    shape: tuple = (SIZE, WIDTH)

    @nn.compact
    def __call__(self, x):
        return x + jax.random.normal(self.make_rng(self.stream), self.shape)


class Attention(nn.Module):
    broadcast: bool

    @nn.compact
    def __call__(self, x, train):
        layer = nn.MultiHeadDotProductAttention(1, dropout_rate=0.5, broadcast_dropout=self.broadcast)
        return layer(x[..., None], deterministic=not train)


def test_random_streams_of_linen_belong_to_samples():
    noise, other = (np.asarray(call(Draws(stream), ONES, KEYS)) for stream in ("noise", "dropout"))
    assert len(np.unique(noise)) == SIZE * WIDTH
    assert np.abs(noise - other).min() > 0
    np.testing.assert_array_equal(call(Draws("noise", (8, WIDTH)), ONES[:8], KEYS[:8]), noise[:8])
    x = ONES[:4, :4]
    params = Attention(False).init(jax.random.key(0), x[..., None], train=False)["params"]
    with pytest.raises(ValueError, match=r"draws an array of shape \(1, 1, 4, 4\).*broadcast_dropout=False"):
        networks.call_network(Attention(True), params, {}, x, keys=KEYS[:4])
    assert networks.call_network(Attention(False), params, {}, x, keys=KEYS[:4])[0].shape == (4, 4, 1)


def test_what_has_no_stream_is_told():
    with pytest.raises(ValueError, match=r"Draws of test_dropout: its random streams are dropout and noise"):
        call(Draws("else"), ONES, KEYS)
    with pytest.raises(ValueError, match=r"Draws of test_dropout: .* give the sampler a key"):
        networks.sample_network(Draws("noise"), {"params": {}}, ONES)
    with pytest.raises(ValueError, match=r"NNXNoise draws from a random stream: give the sampler a key"):
        networks.sample_network(networks.from_nnx(NNXNoise), {"params": {}}, ONES)
    with pytest.raises(ValueError, match=r"dropout needs a key for each of \(64,\) samples, got .*\(8,"):
        call(Twice("layers"), ONES, KEYS[:8])
    with pytest.raises(ValueError, match=r"dropout: rate must be from 0 to 1, got 2\.0"):
        Dropout(2.0).apply({}, ONES, KEYS, True)


class NNXNoise(nnx.Module):
    def __init__(self, rngs):
        self.rngs = rngs.noise.fork()

    def __call__(self, x):
        return x + jax.random.normal(self.rngs(), x.shape)


class Dropping(nn.Module):
    @nn.compact
    def __call__(self, image, train):
        x = nn.Dropout(0.5, deterministic=not train)(jnp.tanh(nn.Dense(8)(image.reshape(len(image), -1))))
        return nn.Dense(1)(x)[:, 0]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_microbatches_draw_the_same_masks():
    batch = small_gan.batches(8)
    whole, parts = (
        small_gan.train(small_gan.make(discriminator=Dropping(), microbatches=count), batch)[0] for count in (1, 2)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        whole.discriminator.params,
        parts.discriminator.params,
    )
