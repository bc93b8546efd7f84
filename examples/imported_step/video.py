"""Video: clips `[B, T, H, W, C]` with three-dimensional convolutions in Linen. A bar moves one pixel a frame.

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


adam, penalty = gan_jax.optimizers.adam(1e-3), gan_jax.Term(0.5, gan_jax.penalties.r1_r2())
loss, latent = gan_jax.losses.relativistic(), gan_jax.latents.normal(8)
gan = gan_jax.GAN(Generator(), Discriminator(), loss, adam, adam, latent, discriminator_terms=(penalty,))
place = (jax.random.randint(jax.random.key(1), (200, 32, 1), 0, 8) + jnp.arange(8)) % 8  # [steps, B, T]
clips = 1.8 * jnp.tile(jax.nn.one_hot(place, 8)[..., None, :, None], (4, 1, 1)) - 0.9
state = gan_jax.init(gan, jax.random.key(0), {"image": clips[0]})
state, _ = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 200))(state, {"image": clips})
samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(2), (200, 8)))
bar = samples.mean(axis=(2, 4)).argmax(axis=-1)  # its place, [B, T]
moves = jnp.mean((bar[:, 1:] - bar[:, :-1]) % 8 == 1)
print(f"the bar moves on by one pixel in {moves:.0%} of the frames")
assert moves > 0.75
