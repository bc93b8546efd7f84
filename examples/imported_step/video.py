"""Video: clips `[B, T, H, W, C]` with three-dimensional convolutions in Linen. A wave moves by one pixel a frame.

Vondrick et al., "Generating videos with scene dynamics", 2016 (the model with one stream).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

import gan_jax


class Generator(nn.Module):
    @nn.compact
    def __call__(self, latents):
        x = nn.relu(nn.Dense(4 * 2 * 4 * 32)(latents)).reshape(-1, 4, 2, 4, 32)
        return jnp.tanh(nn.ConvTranspose(1, (4, 4, 4), strides=(2, 2, 2))(x))


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, clip):
        x = nn.leaky_relu(nn.Conv(32, (4, 4, 4), strides=(2, 2, 2))(clip), 0.2)
        return nn.Dense(1)(x.reshape(len(x), -1))


adam, penalty = gan_jax.optimizers.adam(2e-3), gan_jax.Term(2.0, gan_jax.penalties.r1_r2())
loss, latent = gan_jax.losses.relativistic(), gan_jax.latents.normal(8)
gan = gan_jax.GAN(Generator(), Discriminator(), loss, adam, adam, latent, discriminator_terms=(penalty,))
time, place = jnp.mgrid[:8, :4, :8][::2]  # each [T, H, W]
start = jax.random.uniform(jax.random.key(1), (400, 16, 1, 1, 1), maxval=8)
clips = 0.8 * jnp.cos(jnp.pi / 4 * (place - time - start))[..., None]
state = gan_jax.init(gan, jax.random.key(0), {"image": clips[0]})
state, _ = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 400))(state, {"image": clips})
samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(2), (200, 8)))
power = jnp.abs(jnp.fft.fftn(samples[..., 0], axes=(1, 2, 3))) ** 2
share = ((power[:, 1, 0, 7] + power[:, 7, 0, 1]) / power.sum(axis=(1, 2, 3))).mean()
print(f"{share:.0%} of the samples' power is in waves of this length and speed")
assert share > 0.75
