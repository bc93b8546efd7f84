"""Which optimizers work on a share of the parameters, and that a split state takes the same steps."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import optax
import pytest

import architectures
import gan_jax
from devices import run_json
from gan_jax import optimizers
from gan_jax.step.split_state import is_elementwise
from modes import TOLERANCE, difference, on_host

CLIPPED = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-3))
APART = {
    "adam": optimizers.adam(),
    "adam, scheduled": optimizers.adam(b2=lambda count: 0.9 + 0.01 / (1 + count)),
    "lazy adam": optimizers.lazy_adam(),
    "sgd": optimizers.sgd(momentum=0.9),
    "rmsprop": optimizers.rmsprop(),
    "adamw": optax.adamw(1e-3),
    "lion": optax.lion(1e-3),
}
TOGETHER = {
    "clipped": CLIPPED,
    "lamb": optax.lamb(1e-3),
    "adafactor": optax.adafactor(1e-3),
    "centralised": optax.chain(optax.centralize(), optax.sgd(1e-3)),
}


@pytest.mark.parametrize("name", APART | TOGETHER)
def test_which_optimizers_treat_numbers_apart(name):
    tx = (APART | TOGETHER)[name]
    params = {"kernel": jnp.ones((256, 128)), "bias": jnp.ones(128)}
    assert is_elementwise(tx, (params, tx.init(params), params), {}) == (name in APART)


def test_shares_that_do_not_fit_together():
    tx, params = optimizers.adam(), {"kernel": jnp.ones((8, 16))}
    share = {"kernel": jnp.ones((1, 16))}
    assert not is_elementwise(tx, (share, tx.init(params), share), {})


def main():
    """Prints how far three steps with a split state are from those of one device: the states, and the metrics."""
    jax.config.update("jax_disable_most_optimizations", True)
    found = {}
    for name in ("adam", "clipped"):
        tx = (APART | TOGETHER)[name]
        gan = dataclasses.replace(architectures.GAMES["dcgan"](), generator_tx=tx, discriminator_tx=tx)
        batches, step, mesh = architectures.batches(gan, 3), gan_jax.make_train_step(gan), gan_jax.make_mesh()
        start = gan_jax.init(gan, jax.random.key(0), jax.tree.map(lambda x: x[0], batches))
        places, ends = gan_jax.state_shardings(start, mesh, 1), []
        for placed, state in (
            (gan_jax.jit_step(step), start),
            (gan_jax.shard_step(step, mesh, places), jax.device_put(start, places)),
        ):
            state = jax.tree.map(jnp.copy, state)
            for i in range(3):
                state, metrics = placed(state, jax.tree.map(lambda x, i=i: x[i], batches))
                jax.block_until_ready(state)
            ends.append((on_host(state), jax.device_get(metrics)))
        shares = {x.addressable_shards[0].data.size / x.size for x in jax.tree.leaves(state.ema) if x.size > 1}
        found[name] = [*(difference(a, b) for a, b in zip(*ends, strict=True)), max(shares)]
    print(json.dumps(found))


@pytest.mark.slow
def test_a_split_state_takes_the_same_steps():
    """Adam on the shares, and an optimizer that needs the norm of the whole gradient."""
    found = run_json("import test_split_state; test_split_state.main()", devices=4)
    assert all(gap <= TOLERANCE for state, metrics, _ in found.values() for gap in (state, metrics)), found
