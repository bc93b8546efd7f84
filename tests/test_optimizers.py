"""Tests Adam with schedules: against NumPy in float64, against Optax's own Adam, and as a config sets it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax import optimizers, schedules
from gan_jax.config import Call, Config
from gan_jax.config import build as recipe

pytestmark = pytest.mark.usefixtures("quick_compile")

LR, B2 = (2e-4, 5e-5), (0.9, 0.99)


def cosine(ends, images, seen):
    start, end = ends
    return start + (1 - 0.5 * (1 + np.cos(np.pi * min(seen / images, 1)))) * (end - start)


def adam_in_numpy(gradients, rates, b1, b2s, eps):
    """Yields Adam's updates by PyTorch's rule in float64, where the bias correction uses the current b2."""
    m = v = 0.0
    for t, (g, rate, b2) in enumerate(zip(gradients, rates, b2s), start=1):
        g = g.astype(np.float64)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        yield -rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)


def updates(tx, gradients):
    """Yields the updates that a transformation makes of a sequence of gradients, under jit."""
    update, state = jax.jit(tx.update), tx.init(jnp.zeros_like(gradients[0]))
    for g in gradients:
        out, state = update(g, state)
        yield np.asarray(out)


def draw(steps):
    return np.random.default_rng(0).normal(size=(steps, 6)).astype(np.float32) * [1e-6, 1e-3, 1, 1, 30, 1e4]


@pytest.mark.parametrize("b1", [0.0, 0.5])
def test_a_changing_b2_is_that_of_numpy_in_float64(b1):
    batch, images, steps = 64, 640, 14  # more steps than the schedule has
    gradients = draw(steps).astype(np.float32)
    tx = optimizers.adam(
        learning_rate=schedules.per_update(schedules.cosine(*LR, images), batch),
        b1=b1,
        b2=schedules.per_update(schedules.cosine(*B2, images), batch),
    )
    rates, b2s = ([cosine(ends, images, batch * i) for i in range(steps)] for ends in (LR, B2))
    assert b2s[0] == 0.9
    assert b2s[-1] == 0.99
    expected = list(adam_in_numpy(gradients, rates, b1, b2s, 1e-8))
    np.testing.assert_allclose(list(updates(tx, gradients)), expected, rtol=3e-5)
    frozen = list(adam_in_numpy(gradients, rates, b1, [0.9] * steps, 1e-8))
    assert np.abs(np.divide(expected, frozen) - 1).max() > 0.1  # the schedule matters


def test_a_constant_schedule_equals_the_number():
    gradients = draw(5).astype(np.float32)
    one, other = (optimizers.adam(1e-3, 0.5, b2) for b2 in (0.99, lambda count: jnp.float32(0.99)))
    params = jnp.zeros(6)
    assert jax.tree.structure(one.init(params)) == jax.tree.structure(other.init(params))
    np.testing.assert_allclose(list(updates(one, gradients)), list(updates(other, gradients)), rtol=2e-5)


@pytest.mark.parametrize("b2", [0.999, 0.9])
def test_a_number_gives_optax_s_own_program(b2):
    params = jnp.ones(6)
    programs = []
    for tx in (optimizers.adam(2e-4, 0.5, b2), optax.adam(2e-4, b1=0.5, b2=b2, eps=1e-8)):
        programs.append(jax.jit(tx.update).lower(params, tx.init(params), params).as_text())
    assert programs[0] == programs[1]


def test_b2_may_be_traced():
    """A `jax.vmap` over b2 gives, for each b2, what Adam with that number gives."""
    gradients = draw(3).astype(np.float32)
    values = jnp.asarray([0.9, 0.99])

    def last(b2):
        tx = optimizers.adam(1e-3, 0.0, lambda count: b2)
        state, out = tx.init(gradients[0]), None
        for g in gradients:
            out, state = tx.update(g, state)
        return out

    together = jax.jit(jax.vmap(last))(values)
    for b2, out in zip(values, together):
        *_, expected = updates(optimizers.adam(1e-3, 0.0, float(b2)), gradients)
        np.testing.assert_allclose(out, expected, rtol=2e-5)


def test_lazy_adam_corrects_schedules_as_it_does_numbers():
    """With c = k / (k + 1), every update has the learning rate times c, and betas to the power c."""
    batch, images, steps, c = 64, 640, 6, 4 / 5
    gradients = draw(steps).astype(np.float32)
    rate, b2 = (schedules.per_update(schedules.cosine(*ends, images), batch) for ends in (LR, B2))
    rates, b2s = ([cosine(ends, images, batch * i) for i in range(steps)] for ends in (LR, B2))
    expected = list(adam_in_numpy(gradients, [c * r for r in rates], 0.5**c, [b**c for b in b2s], 1e-8))
    both = optimizers.lazy_adam(learning_rate=rate, b1=0.5, b2=b2, k=4)
    np.testing.assert_allclose(list(updates(both, gradients)), expected, rtol=3e-5)
    expected = list(adam_in_numpy(gradients, [c * r for r in rates], 0.5**c, [0.99**c] * steps, 1e-8))
    one = optimizers.lazy_adam(learning_rate=rate, b1=0.5, b2=0.99, k=4)
    np.testing.assert_allclose(list(updates(one, gradients)), expected, rtol=3e-5)


def test_lazy_adam_refuses_k_of_zero():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        optimizers.lazy_adam(k=0)


def test_schedules_in_a_config_reach_the_update():
    """The schedules of learning rate and b2 count images: an update of G is a batch, of D a batch / disc_steps."""
    call = Call(
        "adam",
        learning_rate=Call("cosine", start=LR[0], end=LR[1], images=1000),
        b1=0.0,
        b2=Call("cosine", start=B2[0], end=B2[1], images=1000),
    )
    config = Config(
        name="scheduled", batch=100, disc_steps=2,
        generator=Call("mlp", width=2), discriminator=Call("mlp", width=2),
        generator_optimizer=call, discriminator_optimizer=call,
    )  # fmt: skip
    gan = recipe.make_gan(config, recipe.SampleSpec((2,), "float32", None))
    gradients = draw(4).astype(np.float32)
    for tx, images in ((gan.generator_tx, 100), (gan.discriminator_tx, 50)):
        rates, b2s = ([cosine(ends, 1000, images * i) for i in range(4)] for ends in (LR, B2))
        expected = list(adam_in_numpy(gradients, rates, 0.0, b2s, 1e-8))
        np.testing.assert_allclose(list(updates(tx, gradients)), expected, rtol=3e-5)
        state = jax.eval_shape(tx.init, {"w": jnp.zeros(6)})  # the leaves that a checkpoint has
        assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(state))
        shapes = sorted((leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(state))
        assert shapes == [((), "int32")] * 2 + [((6,), "float32")] * 2
