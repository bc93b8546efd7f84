"""Adam whose numbers follow schedules: against float64, against Optax's own, and from a config to an update."""

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


def by_hand(gradients, rates, b1, b2s, eps):
    """PyTorch's rule in float64: the powers of the bias correction are those of the current b2."""
    m = v = 0.0
    for t, (g, rate, b2) in enumerate(zip(gradients, rates, b2s), start=1):
        g = g.astype(np.float64)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        yield -rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)


def played(tx, gradients):
    """The updates that a transformation makes of a row of gradients, under jit."""
    update, state = jax.jit(tx.update), tx.init(jnp.zeros_like(gradients[0]))
    for g in gradients:
        out, state = update(g, state)
        yield np.asarray(out)


def draw(steps):
    return np.random.default_rng(0).normal(size=(steps, 6)).astype(np.float32) * [1e-6, 1e-3, 1, 1, 30, 1e4]


@pytest.mark.parametrize("b1", [0.0, 0.5])
def test_a_changing_b2_is_that_of_numpy_in_float64(b1):
    batch, images, steps = 64, 640, 14  # past the end of the schedule
    gradients = draw(steps).astype(np.float32)
    tx = optimizers.adam(
        learning_rate=schedules.per_update(schedules.cosine(*LR, images), batch),
        b1=b1,
        b2=schedules.per_update(schedules.cosine(*B2, images), batch),
    )
    rates, b2s = ([cosine(ends, images, batch * i) for i in range(steps)] for ends in (LR, B2))
    assert b2s[0] == 0.9
    assert b2s[-1] == 0.99
    expected = list(by_hand(gradients, rates, b1, b2s, 1e-8))
    np.testing.assert_allclose(list(played(tx, gradients)), expected, rtol=3e-5)
    frozen = list(by_hand(gradients, rates, b1, [0.9] * steps, 1e-8))
    assert np.abs(np.divide(expected, frozen) - 1).max() > 0.1  # the schedule matters


def test_a_schedule_that_stays_is_the_number():
    gradients = draw(5).astype(np.float32)
    one, other = (optimizers.adam(1e-3, 0.5, b2) for b2 in (0.99, lambda count: jnp.float32(0.99)))
    params = jnp.zeros(6)
    assert jax.tree.structure(one.init(params)) == jax.tree.structure(other.init(params))
    np.testing.assert_allclose(list(played(one, gradients)), list(played(other, gradients)), rtol=2e-5)


@pytest.mark.parametrize("b2", [0.999, 0.9])
def test_a_number_gives_optax_s_own_program(b2):
    params = jnp.ones(6)
    programs = []
    for tx in (optimizers.adam(2e-4, 0.5, b2), optax.adam(2e-4, b1=0.5, b2=b2, eps=1e-8)):
        programs.append(jax.jit(tx.update).lower(params, tx.init(params), params).as_text())
    assert programs[0] == programs[1]


def test_b2_may_be_traced():
    """A population over b2 is a vmap; each member is the one built alone."""
    gradients = draw(3).astype(np.float32)
    values = jnp.asarray([0.9, 0.99])

    def last(b2):
        *_, out = updates(optimizers.adam(1e-3, 0.0, lambda count: b2), gradients)
        return out

    def updates(tx, rows):
        state = tx.init(rows[0])
        for g in rows:
            out, state = tx.update(g, state)
            yield out

    together = jax.jit(jax.vmap(last))(values)
    for b2, out in zip(values, together):
        *_, alone = played(optimizers.adam(1e-3, 0.0, float(b2)), gradients)
        np.testing.assert_allclose(out, alone, rtol=2e-5)


def test_lazy_adam_corrects_schedules_as_it_does_numbers():
    """c = k / (k + 1): the rate times c, betas to the power c, at every update."""
    batch, images, steps, c = 64, 640, 6, 4 / 5
    gradients = draw(steps).astype(np.float32)
    rate, b2 = (schedules.per_update(schedules.cosine(*ends, images), batch) for ends in (LR, B2))
    rates, b2s = ([cosine(ends, images, batch * i) for i in range(steps)] for ends in (LR, B2))
    expected = list(by_hand(gradients, [c * r for r in rates], 0.5**c, [b**c for b in b2s], 1e-8))
    both = optimizers.lazy_adam(learning_rate=rate, b1=0.5, b2=b2, k=4)
    np.testing.assert_allclose(list(played(both, gradients)), expected, rtol=3e-5)
    expected = list(by_hand(gradients, [c * r for r in rates], 0.5**c, [0.99**c] * steps, 1e-8))
    one = optimizers.lazy_adam(learning_rate=rate, b1=0.5, b2=0.99, k=4)
    np.testing.assert_allclose(list(played(one, gradients)), expected, rtol=3e-5)


def test_lazy_adam_of_no_steps():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        optimizers.lazy_adam(k=0)


def test_a_config_s_words_reach_the_update():
    """`Call("cosine", ...)` for the rate and for b2: counted in images, of the batch for G, of its turns for D."""
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
        expected = list(by_hand(gradients, rates, 0.0, b2s, 1e-8))
        np.testing.assert_allclose(list(played(tx, gradients)), expected, rtol=3e-5)
        state = jax.eval_shape(tx.init, {"w": jnp.zeros(6)})  # what a checkpoint holds
        assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(state))
        shapes = sorted((leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(state))
        assert shapes == [((), "int32")] * 2 + [((6,), "float32")] * 2
