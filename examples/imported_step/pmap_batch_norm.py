"""Batch norm over several devices: Linen's own layer gets `axis_name`, so pmap and jit have the same numbers.

A network that names `axis_name` gets the device axis under pmap, else None; `train` is False in a sampler.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

import gan_jax

jax.config.update("jax_num_cpu_devices", 4)


class Generator(nn.Module):
    @nn.compact
    def __call__(self, latents, train, axis_name):
        x = nn.Dense(4 * 4 * 16)(latents).reshape(-1, 4, 4, 16)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, axis_name=axis_name)(x))
        return jnp.tanh(nn.ConvTranspose(1, (4, 4), strides=(2, 2))(x))


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, image):
        x = nn.leaky_relu(nn.Conv(16, (4, 4), strides=(2, 2))(image), 0.2)
        return nn.Dense(1)(x.reshape(len(x), -1))


sgd, loss, latent = gan_jax.optimizers.sgd(0.05), gan_jax.losses.non_saturating(), gan_jax.latents.normal(8)
gan = gan_jax.GAN(Generator(), Discriminator(), loss, sgd, sgd, latent)
images = jax.random.uniform(jax.random.key(1), (100, 16, 8, 8, 1), minval=-1.0)
one = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 100))
four = gan_jax.pmap_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan, axis_name="devices"), 100), "devices")
start = [gan_jax.init(gan, jax.random.key(0), {"image": images[0]}) for _ in range(2)]
states = one(start[0], {"image": images})[0], four(start[1], {"image": images})[0]
gap = max(abs(a - b).max() for a, b in zip(*(jax.tree.leaves(jax.device_get(state.ema)) for state in states)))
print(f"after 100 steps pmap over four devices differs from jit by {gap:.0e}")
assert gap < 1e-4
