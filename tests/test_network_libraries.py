"""Networks of any library train in the same GAN: functions, Linen, Flax NNX, Equinox and Haiku."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
import network_kinds
import small_gan
from devices import run_json
from gan_jax import networks
from network_kinds import KINDS
from quick import some
from small_gan import LATENT

pytestmark = pytest.mark.usefixtures("quick_compile")
BATCH = small_gan.batches(8)


def start(kind: str, rate: float = 0.0, **keywords):
    gan = network_kinds.make(kind, rate, **keywords)
    return gan, gan_jax.init(gan, jax.random.key(5), BATCH)


@pytest.fixture(scope="module")
def by_hand():
    gan, state = start("functions")
    return jax.tree.map(jnp.copy, state), *small_gan.train(gan, BATCH, steps=2, state=state)


@pytest.mark.parametrize("kind", some(["linen", "nnx", "to_linen", "equinox", "haiku"], "linen", "nnx", "haiku"))
def test_every_kind_of_network_makes_the_same_step(kind, by_hand):
    """With the same weights and batch norm, all kinds have the same parameters after two steps of SGD."""
    weights, expected, history = by_hand
    gan, state = start(kind)
    for name in ("generator", "discriminator"):
        player = getattr(state, name)
        copied = network_kinds.read("functions", getattr(weights, name).params)
        state = state.replace(**{name: player.replace(params=network_kinds.load(kind, player.params, copied))})
    state, metrics = small_gan.train(gan, BATCH, steps=2, state=state)
    for ours, theirs in zip(metrics, history, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6, err_msg=name)
    for player in ("generator", "discriminator"):
        ours = network_kinds.read(kind, getattr(state, player).params)
        theirs = network_kinds.read("functions", getattr(expected, player).params)
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=2e-6, err_msg=name)
    (name,) = networks.statistics_names(gan.generator)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.ema[name])} == {jnp.dtype("float32")}
    sample = gan_jax.make_sampler(gan)
    assert sample(state.ema, jnp.ones((2, LATENT))).shape == (2, *small_gan.SHAPE)  # no key is needed


@pytest.mark.parametrize("kind", some(KINDS, "linen", "nnx", "equinox"))
def test_a_pass_does_not_depend_on_how_the_batch_is_split(kind):
    """With dropout, and batch norm over the named axis: two halves under `pmap`'s axis are the whole batch."""
    network = KINDS[kind].make(False, 0.5)
    x, keys = jax.random.normal(jax.random.key(1), (8, *small_gan.SHAPE)), jax.random.split(jax.random.key(2), 8)
    params, state = networks.init_network(
        network, jax.random.key(0), x[:1], train=False, axis_name=None, keys=keys[:1]
    )

    def run(x, keys, axis_name):
        return networks.call_network(network, params, state, x, axis_name=axis_name, keys=keys)

    one = jax.jit(lambda x, keys: run(x, keys, None))
    whole, after = one(x, keys)
    assert len(np.unique(np.asarray(whole))) > 1
    if kind == "to_linen":  # its batch norm is the user's, and has no axis
        return
    split = jax.jit(jax.vmap(lambda x, keys: run(x, keys, "devices"), axis_name="devices"))
    halves, states = split(x.reshape(2, 4, *x.shape[1:]), keys.reshape(2, 4))
    np.testing.assert_allclose(halves.reshape(-1), whole, rtol=1e-4, atol=1e-6)
    for i in range(2):
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-7), states, after)
    other, _ = one(x, jax.random.split(jax.random.key(3), 8))
    assert np.abs(other - whole).max() > 1e-3


def test_standing_statistics_of_any_collection():
    """The generator's statistics over 4 passes are those of its hidden layer over all their latents."""
    gan, state = start("functions")
    measured = gan_jax.standing_statistics(gan, state.ema, jax.random.key(3), batch=64, repeats=4)["averages"]
    params = state.ema["params"]
    hidden = jax.random.normal(jax.random.key(8), (20_000, LATENT)) @ params["kernel"] + params["bias"]
    np.testing.assert_allclose(measured["mean"], hidden.mean(0), atol=0.15)
    np.testing.assert_allclose(measured["var"], hidden.var(0), rtol=0.4)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_kind_in_every_mode():
    """With batch norm and dropout, a step on 4 devices is that on one device: sharded and under pmap."""
    kinds = [kind for kind in KINDS if kind != "to_linen"]
    source = f"""
import json
import jax, numpy as np
import modes, network_kinds, small_gan, gan_jax
batches = jax.tree.map(np.asarray, small_gan.batches(2, 8))
found = {{}}
for kind in {kinds}:
    gan = network_kinds.make(kind, 0.5)
    state = gan_jax.init(gan, jax.random.key(0), jax.tree.map(lambda x: x[0], batches))
    ends = [modes.on_host(modes.play(modes.make_step(gan, mode), mode, state, batches))
            for mode in ("jit", "shard", "pmap")]
    found[kind] = [modes.difference(end, ends[0]) for end in ends[1:]]
print(json.dumps(found))
"""
    found = run_json(source, devices=4, timeout=500, JAX_DISABLE_MOST_OPTIMIZATIONS="1")
    assert list(found) == kinds
    assert all(max(differences) < 1e-6 for differences in found.values()), found


@pytest.mark.parametrize(("adapter", "package"), [("from_equinox", "equinox"), ("from_haiku", "dm-haiku")])
def test_a_missing_library_is_named(adapter, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package.removeprefix("dm-"), None)
    with pytest.raises(ImportError, match=f"networks.{adapter} needs .*: pip install {package}"):
        getattr(networks, adapter)(lambda key: None)


@pytest.mark.parametrize("kind", ["nnx", "equinox"])
def test_a_traced_step_keeps_nothing(kind):
    """A cached signature must not hold a module with its tracers."""
    gan, state = start(kind)
    with jax.checking_leaks():
        jax.eval_shape(gan_jax.make_train_step(gan), state, BATCH)
