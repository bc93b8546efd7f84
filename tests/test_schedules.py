"""Compares schedules, the moving average (EMA) and the optimizers with closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
import small_gan
from gan_jax import optimizers, schedules

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

IMAGES = np.array([0.0, 100.0, 250.0, 400.0, 1000.0, 5000.0])


def values(schedule):
    return [float(schedule(jnp.asarray(n))) for n in IMAGES]


def test_constant():
    assert values(schedules.constant(0.25)) == [0.25] * 6


def test_linear():
    expected = [2.0, 2.0, 2.0 - 6 * 150 / 400, 2.0 - 6 * 300 / 400, -4.0, -4.0]
    np.testing.assert_allclose(values(schedules.linear(2.0, -4.0, 400.0, delay=100.0)), expected, rtol=1e-6)


def test_cosine():
    share = np.minimum(IMAGES / 500, 1)
    expected = 0.1 + (3.0 - 0.1) * (1 + np.cos(np.pi * share)) / 2
    np.testing.assert_allclose(values(schedules.cosine(3.0, 0.1, 500.0)), expected, rtol=1e-5)


def test_half_life():
    assert values(schedules.half_life(300.0)) == [300.0] * 6
    np.testing.assert_allclose(
        values(schedules.half_life(100.0, ramp_up=0.05)), [0.0, 5.0, 12.5, 20.0, 50.0, 100.0], rtol=1e-6
    )


def test_decay_halves_after_its_half_life():
    assert schedules.decay(jnp.asarray(64.0), 64) == 0.5
    np.testing.assert_allclose(schedules.decay(jnp.asarray(640.0), 64) ** 10, 0.5, rtol=1e-6)
    assert schedules.decay(jnp.asarray(0.0), 64) == 0.0  # a half-life of 0 keeps nothing


def test_per_update():
    schedule = schedules.per_update(schedules.linear(1.0, 0.0, 1000.0), images_per_update=32)
    np.testing.assert_allclose([schedule(jnp.asarray(n)) for n in (0, 10, 40)], [1.0, 0.68, 0.0], atol=1e-6)


# The moving average, with a generator whose parameters change by the same amount in each step.


class Constant:
    """Returns `params` for any latents; its batch statistic and its spectral vector count the calls."""

    def init(self, key, latents):
        state = {"batch_stats": {"n": jnp.zeros(())}, "spectral": {"u": jnp.zeros(())}}
        return {"params": jnp.zeros(small_gan.SHAPE), **state}

    def refresh(self, variables):
        return variables

    def apply(self, variables, latents, train, mutable=()):
        image = jnp.broadcast_to(variables["params"], (latents.shape[0], *small_gan.SHAPE))
        changed = {name: jax.tree.map(lambda x: x + 1, variables[name]) for name in mutable}
        return (image, changed) if mutable else image


class Sum:
    """`D(x) = sum x`, so under the Wasserstein loss the generator's gradient is -1 for each pixel."""

    def init(self, key, image):
        return {"params": jnp.ones(())}

    def apply(self, variables, image):
        return variables["params"] * jnp.sum(image, axis=(1, 2, 3))


@pytest.mark.parametrize("ramp_up", [None, 0.5])
def test_moving_average(ramp_up):
    """After step t the parameters are 0.1 t, so the moving average is a sum with known weights."""
    batch_size, half_life, steps = 4, 10.0, 6
    gan = small_gan.make(
        generator=Constant(),
        discriminator=Sum(),
        loss=gan_jax.losses.wasserstein(),
        generator_tx=optimizers.sgd(0.1),
        discriminator_tx=optimizers.sgd(0.0),
        ema=schedules.half_life(half_life, ramp_up),
    )
    state, _ = small_gan.train(gan, small_gan.batches(batch_size), steps)
    keep = []
    for t in range(steps):
        current = half_life if ramp_up is None else min(half_life, ramp_up * t * batch_size)
        keep.append(0.5 ** (batch_size / current) if current else 0.0)
    # The weight of the parameters after step t: (1 - keep_t) times every later keep.
    weights = [(1 - keep[t]) * np.prod(keep[t + 1 :]) for t in range(steps)]
    expected = sum(weight * 0.1 * (t + 1) for t, weight in enumerate(weights))
    np.testing.assert_allclose(state.generator.params, 0.1 * steps, rtol=1e-5)
    np.testing.assert_allclose(state.ema["params"], expected, rtol=1e-5)
    np.testing.assert_allclose(state.generator.model_state["batch_stats"]["n"], steps)
    np.testing.assert_allclose(state.ema["batch_stats"]["n"], expected / 0.1, rtol=1e-5)
    assert state.ema["spectral"]["u"] == steps  # a spectral vector is copied, not averaged


def test_moving_average_starts_as_the_generator():
    gan = small_gan.make()
    state = gan_jax.init(gan, jax.random.key(0), small_gan.batches(4))
    jax.tree.map(np.testing.assert_array_equal, state.ema["params"], state.generator.params)


def test_a_step_counts_the_global_batch_once_for_any_number_of_updates():
    """A step with three batches counts as one: the half-life is a function of step times B."""
    seen = []
    gan = small_gan.make(
        disc_steps=2,
        share_latents=False,
        ema=lambda images: (jax.debug.callback(lambda x: seen.append(float(x)), images), 10.0 + 0 * images)[1],
    )
    state, _ = small_gan.train(gan, small_gan.batches(3, 4), steps=3)
    jax.block_until_ready(state)
    jax.effects_barrier()
    assert seen == [0.0, 4.0, 8.0]


# Optimizers, against SGD, Adam and RMSProp in plain Python.


def parameters(tx, gradients):
    """Returns the parameter, which starts at 0, after each gradient."""
    params, state, path = jnp.zeros(()), tx.init(jnp.zeros(())), []
    for gradient in gradients:
        updates, state = tx.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        path.append(float(params))
    return path


def adam(lr, b1, b2, eps, gradients):
    m = v = x = 0.0
    path = []
    for t, g in enumerate(gradients, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        x -= lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        path.append(x)
    return path


GRADIENTS = [1.0, -0.3, 2.0, 0.7, -1.1]


def test_adam_has_the_defaults_of_dcgan():
    np.testing.assert_allclose(
        parameters(optimizers.adam(), GRADIENTS), adam(2e-4, 0.5, 0.999, 1e-8, GRADIENTS), rtol=1e-4
    )


@pytest.mark.parametrize(("b1", "b2", "k"), [(0.0, 0.99, 16), (0.5, 0.9, 4)])
def test_lazy_adam(b1, b2, k):
    """StyleGAN2's correction with c = k / (k + 1): the learning rate is lr c, the betas are beta ** c."""
    c = k / (k + 1)
    expected = adam(0.002 * c, b1**c, b2**c, 1e-8, GRADIENTS)
    found = parameters(optimizers.lazy_adam(learning_rate=0.002, b1=b1, b2=b2, k=k), GRADIENTS)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert abs(parameters(optimizers.adam(0.002, b1, b2), GRADIENTS)[0] - expected[0]) > 1e-5


def test_sgd_with_momentum():
    x = m = 0.0
    expected = []
    for g in GRADIENTS:
        m = 0.9 * m + g
        x -= 0.1 * m
        expected.append(x)
    np.testing.assert_allclose(parameters(optimizers.sgd(0.1, momentum=0.9), GRADIENTS), expected, rtol=1e-5)


def test_rmsprop():
    x = v = 0.0
    expected = []
    for g in GRADIENTS:
        v = 0.99 * v + 0.01 * g * g
        x -= 0.01 * g / np.sqrt(v + 1e-8)
        expected.append(x)
    np.testing.assert_allclose(parameters(optimizers.rmsprop(0.01), GRADIENTS), expected, rtol=1e-4)


@pytest.mark.parametrize("images", [300, 5_000_000_000])
def test_a_late_start(images):
    """0 before, the value from then on; also where the number is no int32."""
    schedule = schedules.after(images, 0.5)
    assert [float(schedule(jnp.float32(images * share))) for share in (0, 0.99, 1, 2)] == [0, 0, 0.5, 0.5]
