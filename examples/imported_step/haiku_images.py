"""Images with networks in Haiku: batch norm in the generator, as a function and not a class.

`from_haiku` takes the function itself, without `hk.transform`. `is_training` is True in a training step, and
`hk.BatchNorm` is over the batch of all devices. The data are stripes of any phase.
"""

import haiku as hk
import jax
import jax.numpy as jnp

import gan_jax
from gan_jax.networks import from_haiku


def generate(latents, is_training):
    x = hk.Linear(4 * 4 * 16)(latents).reshape(-1, 4, 4, 16)
    x = jax.nn.relu(hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(x, is_training))
    return jnp.tanh(hk.Conv2DTranspose(1, 4, stride=2)(x))


def discriminate(image):
    x = jax.nn.leaky_relu(hk.Conv2D(16, 4, stride=2)(image), 0.2)
    return hk.Linear(1)(hk.Flatten()(x))


adam, penalty = gan_jax.optimizers.adam(2e-3), gan_jax.Term(2.0, gan_jax.penalties.r1_r2())
loss, latent = gan_jax.losses.relativistic(), gan_jax.latents.normal(8)
gan = gan_jax.GAN(
    from_haiku(generate), from_haiku(discriminate), loss, adam, adam, latent, discriminator_terms=(penalty,)
)
phase = jax.random.uniform(jax.random.key(1), (600, 32, 1, 1, 1), maxval=2 * jnp.pi)
stripes = jnp.tile(0.8 * jnp.sin(jnp.pi * jnp.arange(8)[:, None] / 4 + phase), (8, 1, 1))  # one period
state = gan_jax.init(gan, jax.random.key(0), {"image": stripes[0]})
state, _ = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 600))(state, {"image": stripes})
samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(2), (500, 8)))
power = jnp.abs(jnp.fft.fft2(samples[..., 0])) ** 2
share = ((power[:, 0, 1] + power[:, 0, 7]) / power.sum(axis=(1, 2))).mean()
print(f"{share:.0%} of the samples' power is that of stripes")
assert share > 0.75
