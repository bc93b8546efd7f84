"""Audio: waves `[B, T, 1]` with one-dimensional convolutions in Linen, a small WaveGAN.

Donahue et al., "Adversarial audio synthesis", 2019. The data are tones of one frequency and any phase.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

import gan_jax


class Generator(nn.Module):
    @nn.compact
    def __call__(self, latents):
        x = nn.relu(nn.Dense(16 * 32)(latents)).reshape(-1, 16, 32)
        return jnp.tanh(nn.ConvTranspose(1, (16,), strides=(4,))(x))


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, wave):
        x = nn.leaky_relu(nn.Conv(16, (8,), strides=(2,))(wave), 0.2)
        x = nn.leaky_relu(nn.Conv(32, (8,), strides=(4,))(x), 0.2)
        return nn.Dense(1)(x.reshape(len(x), -1))


adam, penalty = gan_jax.optimizers.adam(2e-3), gan_jax.Term(0.5, gan_jax.penalties.r1_r2())
loss, latent = gan_jax.losses.relativistic(), gan_jax.latents.normal(8)
gan = gan_jax.GAN(Generator(), Discriminator(), loss, adam, adam, latent, discriminator_terms=(penalty,))
phase = jax.random.uniform(jax.random.key(1), (300, 32, 1, 1), maxval=2 * jnp.pi)
waves = 0.8 * jnp.sin(2 * jnp.pi * 5 * jnp.arange(64)[:, None] / 64 + phase)  # five periods in each
state = gan_jax.init(gan, jax.random.key(0), {"image": waves[0]})
state, _ = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 300))(state, {"image": waves})
samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(2), (500, 8)))
power = jnp.abs(jnp.fft.rfft(samples[..., 0])) ** 2
share = (power[:, 5] / power.sum(axis=1)).mean()
print(f"{share:.0%} of the samples' power is at the frequency of the data")
assert share > 0.75
