"""Parameters of 16 bits have an exact moving average and optimizer; what an optimizer gets besides gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import gan_jax
import small_gan
from gan_jax import losses

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_the_moving_average_of_16_bit_parameters_moves():
    """500 steps of 32 images after a jump from 1 to 1.25, with a half-life of 2,500 images."""

    class G(nn.Module):
        @nn.compact
        def __call__(self, z):
            dense = nn.Dense(4, param_dtype=jnp.bfloat16, bias_init=nn.initializers.ones)
            return dense(z).reshape(-1, *small_gan.SHAPE).astype(jnp.float32)

    gan = small_gan.make(generator=G(), generator_tx=optax.set_to_zero(), ema=gan_jax.schedules.half_life(2500.0))
    batch = small_gan.batches(32)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    jumped = jax.tree.map(lambda x: x + jnp.asarray(0.25, x.dtype), state.generator.params)
    state = state.replace(generator=state.generator.replace(params=jumped))
    step = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 500))
    state, _ = step(state, jax.tree.map(lambda x: jnp.broadcast_to(x, (500, *x.shape)), batch))
    assert state.generator.params["Dense_0"]["bias"].dtype == jnp.bfloat16
    expected = 1 + 0.25 * (1 - 0.5 ** (500 * 32 / 2500))
    np.testing.assert_allclose(state.ema["params"]["Dense_0"]["bias"], expected, rtol=1e-4)


def test_the_optimizer_of_16_bit_parameters_is_exact():
    """Adam's moments after 30 steps: in bfloat16, `b2 = 0.999` would leave the second one where it started."""

    class D(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1, param_dtype=jnp.bfloat16)(x.reshape(len(x), -1))[:, 0].astype(jnp.float32)

    gan = small_gan.make(
        discriminator=D(),
        loss=losses.wasserstein(),
        discriminator_tx=optax.adam(0.0, b2=0.999),
        generator_tx=optax.set_to_zero(),
    )
    batch = small_gan.batches(8)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    step = small_gan.compiled(gan)
    total = np.zeros((4, 1))
    for _ in range(30):
        before = state.discriminator.opt_state[0].mu["Dense_0"]["kernel"]
        before = np.array(before, np.float64)
        state, _ = step(state, batch)
        gradient = (
            np.asarray(state.discriminator.opt_state[0].mu["Dense_0"]["kernel"], np.float64) - 0.9 * before
        ) / 0.1
        total = 0.999 * total + 0.001 * gradient**2
    nu = state.discriminator.opt_state[0].nu["Dense_0"]["kernel"]
    assert nu.dtype == jnp.float32
    np.testing.assert_allclose(nu, total, rtol=1e-3)


def test_an_optimizer_gets_the_value_of_the_loss():
    """Polyak's step is `min(rate, value / |gradient|^2)`: it is refused without the value."""
    rate = 0.1
    gan = small_gan.make(discriminator_tx=optax.polyak_sgd(rate), generator_tx=optax.polyak_sgd(rate))
    batch = small_gan.batches(8)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    before = jax.tree.map(np.array, state.discriminator.params)
    state, (metrics,) = small_gan.train(gan, batch, state=state)
    moved = optax.tree.norm(jax.tree.map(jnp.subtract, state.discriminator.params, before))
    norm, loss = metrics["grad_norm/discriminator"], metrics["loss/discriminator"]
    np.testing.assert_allclose(moved, min(rate, loss / norm**2) * norm, rtol=1e-4)


def test_a_state_that_aliases_parameters_is_copied():
    sam = optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1), sync_period=2)
    gan = small_gan.make(generator_tx=optax.contrib.prodigy(), discriminator_tx=sam)
    _, history = small_gan.train(gan, small_gan.batches(8), steps=3)
    assert history[-1]["nonfinite"] == 0


def test_the_gradients_of_microbatches_are_added_in_float32():
    """The critic is linear, so its gradient is the difference of two means, whatever the number of parts."""

    class D(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1, param_dtype=jnp.bfloat16)(x.reshape(len(x), -1))[:, 0].astype(jnp.float32)

    batch = {"image": jnp.ones((512, *small_gan.SHAPE))}
    norms = []
    for microbatches in (1, 512):
        gan = small_gan.make(discriminator=D(), loss=losses.wasserstein(), microbatches=microbatches)
        _, (metrics,) = small_gan.train(gan, batch)
        norms.append(metrics["grad_norm/discriminator"])
    np.testing.assert_allclose(norms[1], norms[0], rtol=0.01)


def test_the_moving_average_of_16_bit_parameters_is_sampled():
    """The network multiplies arrays of one type only."""

    class G(small_gan.Generator):
        def init(self, key, latents):
            return jax.tree.map(lambda x: x.astype(jnp.bfloat16), super().init(key, latents))

        def apply(self, variables, latents):
            kernel, out = (variables["params"][name] for name in ("kernel", "out"))
            hidden = jax.lax.dot(latents.astype(jnp.bfloat16), kernel)
            return jax.lax.dot(jnp.tanh(hidden), out).astype(jnp.float32).reshape(-1, *small_gan.SHAPE)

    gan = small_gan.make(generator=G())
    state, _ = small_gan.train(gan, small_gan.batches(8))
    samples = gan_jax.make_sampler(gan)(state.ema, jnp.ones((2, small_gan.LATENT)))
    live = gan_jax.make_sampler(gan)(state.generator.variables, jnp.ones((2, small_gan.LATENT)))
    np.testing.assert_allclose(samples, live, atol=0.1)
