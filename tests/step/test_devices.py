"""A step inside a `jax.shard_map` of the user's own, with JAX's default checks, gives the numbers of `pmap_step`.

The cases run in one process with four virtual devices (`main`), which prints the differences as JSON.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

import architectures
import gan_jax
from devices import run_json
from modes import AXIS, FIRST_GRADIENT, TOLERANCE, difference, on_host, relative

R1 = (gan_jax.Term(1.0, gan_jax.penalties.r1(), 2),)
CASES = {
    # A lazy penalty is a `cond`, microbatches are a `scan`.
    "microbatches, lazy r1": ("dcgan", {"microbatches": 2, "discriminator_terms": R1}),
    "simultaneous": ("dcgan", {"update": "simultaneous", "discriminator_terms": R1}),
    "two turns": ("dcgan", {"disc_steps": 2, "share_latents": False}),
    **{name: (name, {}) for name in architectures.ARCHITECTURES},
}


def mapped(gan):
    """Returns the step inside a `jax.shard_map`, and the step itself."""
    step = gan_jax.make_train_step(gan, axis_name=AXIS)
    specs = P(), P(*[None] * step.batch_axis, AXIS)
    return jax.shard_map(step, mesh=gan_jax.make_mesh(), in_specs=specs, out_specs=(P(), P())), step


def prepared(name):
    """Returns a GAN, its state and a batch."""
    architecture, changes = CASES[name]
    base = architectures.GAMES[architecture]()
    gan, start = dataclasses.replace(base, **changes), architectures.start(base)
    if changes.get("discriminator_terms"):
        start = start.replace(discriminator=start.discriminator.replace(penalties=((),)))
    batches = architectures.batches(base, gan.batches_per_step)
    return gan, start, batches if gan.batches_per_step > 1 else jax.tree.map(lambda x: x[0], batches)


def main():
    """Prints, for each case, how far gradients, state and metrics of a step are from those of `pmap_step`."""
    jax.config.update("jax_disable_most_optimizations", True)
    found = {}
    for name in CASES:
        gan, start, batch = prepared(name)
        over, step = mapped(gan)
        state, metrics = gan_jax.jit_step(over)(jax.tree.map(jnp.copy, start), batch)
        expected, more = gan_jax.pmap_step(step, AXIS)(jax.tree.map(jnp.copy, start), batch)
        state, expected = on_host(state), on_host(expected)
        found[name] = [
            relative(gradients(state), gradients(expected)),
            difference(state, expected),
            difference(*jax.device_get((metrics, more))),
        ]
    print(json.dumps(found))


def gradients(state):
    return [state.discriminator.opt_state.grads, state.generator.opt_state.grads]


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_inside_a_shard_map_with_its_checks():
    found = run_json("import test_devices; test_devices.main()", devices=4, timeout=480)
    assert found.keys() == CASES.keys()
    allowed = FIRST_GRADIENT, TOLERANCE, TOLERANCE
    for name, gaps in found.items():
        assert all(gap <= limit for gap, limit in zip(gaps, allowed, strict=True)), (name, gaps)


def test_the_types_of_a_step():
    """JAX checks what varies over devices, in convolutions' own derivatives, in `cond` and in `scan` too."""
    architecture, changes = CASES["microbatches, lazy r1"]
    gan = dataclasses.replace(architectures.GAMES[architecture](), **changes)
    batch = jax.tree.map(lambda x: x[0], architectures.batches(gan, 1))
    start = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
    over, _ = mapped(gan)
    state, _ = jax.eval_shape(over, start, batch)
    assert jax.tree.structure(state) == jax.tree.structure(start)
