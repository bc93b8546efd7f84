"""Recomputation changes memory, and no number: gradients, gradients of penalties, states, parameters."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from filled import filled
from gan_jax.models import biggan, dcgan, dcgan_studiogan, mlp, r3gan, sagan, sngan, stylegan2
from gan_jax.networks import call_network, init_network

pytestmark = pytest.mark.usefixtures("quick_compile")

B, CLASSES, LATENT = 2, 3, 6
SIZES = {
    mlp: {"width": 64},
    dcgan: {"width": 4},
    dcgan_studiogan: {"widths": (4, 4)},
    sngan: {"widths": (4, 4)},
    sagan: {"widths": (4, 4)},
    biggan: {"widths": (4, 4)},
    stylegan2: {"channel_base": 32, "channel_max": 4, "mapping_layers": 1},
    r3gan: {"widths": (4, 4), "cardinality": 2, "blocks": 1},
}
PLAYERS = ("Generator", "Discriminator")


def cases(*quick):
    """Returns every network; all but `quick` are slow."""
    return [
        pytest.param(
            model, player, id=f"{model.__name__.split('.')[-1]}-{player}",
            marks=[] if (model, player) in quick else [pytest.mark.slow],
        )
        for model in SIZES
        for player in PLAYERS
    ]  # fmt: skip


def shape(model):
    return (32, 32, 3) if model is dcgan else (8, 8, 3)  # dcgan has a block less than doublings


def network_and_input(model, player, remat, size=B):
    keywords = {**SIZES[model], "classes": CLASSES, "remat": remat}
    if model is stylegan2 and player == "Generator":
        keywords["w_size"] = 4
    rng = np.random.default_rng(0)
    if player == "Generator":
        return model.Generator(shape(model), **keywords), jnp.asarray(rng.normal(size=(size, LATENT)), jnp.float32)
    return model.Discriminator(**keywords), jnp.asarray(rng.uniform(-1, 1, (size, *shape(model))), jnp.float32)


def keywords(x):
    return {"label": jnp.arange(len(x)) % CLASSES, "keys": jax.random.split(jax.random.key(3), len(x))}


def variables(network, x):
    init = lambda key: init_network(network, key, x, train=True, **keywords(x))  # noqa: E731
    return jax.eval_shape(init, jax.random.key(0))


def pullback(network, x, penalty):
    """Returns `(params, state) -> (value, pullback, new state)`: a sum of the output, or its squared gradient."""

    def value(params, state):
        def weighted(x):
            y, after = call_network(network, params, state, x, **keywords(x))
            return jnp.sum(y * jnp.cos(jnp.arange(math.prod(y.shape)).reshape(y.shape))), after

        if not penalty:
            return weighted(x)
        by_x, after = jax.grad(weighted, has_aux=True)(x)
        return jnp.sum(by_x**2), after

    return lambda params, state: jax.vjp(lambda p: value(p, state), params, has_aux=True)


def kept(model, player, remat, penalty):
    """Returns the bytes that the two passes of a derivative by the parameters keep between them."""
    network, x = network_and_input(model, player, remat, size=32)  # the parameters count little then
    _, between, _ = jax.eval_shape(pullback(network, x, penalty), *variables(network, x))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(between))


def results(model, player, remat, penalty):
    """Returns the value, the state after the pass and the gradients, in float64: rounding then hides nothing."""
    network, x = network_and_input(model, player, remat)
    params, state = filled(variables(network, x))
    params, state, x = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (params, state, x))
    network = network.clone(dtype=jnp.float64)

    def gradients(params, state):
        value, pull, after = pullback(network, x, penalty)(params, state)
        return value, after, pull(jnp.ones_like(value))

    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(gradients, compiler_options=quick)(params, state)


@pytest.mark.parametrize(("model", "player"), cases((r3gan, "Discriminator"), (dcgan, "Generator")))
def test_less_is_kept_and_parameters_stay(model, player):
    network, x = network_and_input(model, player, "none")
    for remat in ("blocks", "all"):
        assert variables(network_and_input(model, player, remat)[0], x) == variables(network, x)
    penalty = player == "Discriminator"
    none, blocks, everything = (kept(model, player, remat, penalty) for remat in ("none", "blocks", "all"))
    assert everything < 0.8 * none, (none, everything)
    if model is not mlp:  # a block keeps little more than its input
        assert everything < 0.8 * blocks < 0.8 * 0.8 * none, (none, blocks, everything)


@pytest.mark.parametrize(("model", "player"), cases())
def test_the_numbers_stay(model, player):
    """Gradients of generators, gradients of gradient penalties of discriminators, and the state after the pass."""
    penalty = player == "Discriminator"
    with jax.enable_x64(True):
        none, *others = (results(model, player, remat, penalty) for remat in ("none", "blocks", "all"))
    for other in others:
        assert jax.tree.structure(other) == jax.tree.structure(none)
        for part, expected in zip(
            other, none, strict=True
        ):  # a bias before a batch norm has a gradient of about 0
            scale = max((np.abs(leaf).max() for leaf in jax.tree.leaves(expected)), default=0)
            for a, b in zip(jax.tree.leaves(part), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10 * scale)
