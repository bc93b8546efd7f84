"""Volumes `[B, D, H, W, C]` with networks in Flax NNX: balls of any size, by three-dimensional convolutions.

`from_nnx` takes a function of `nnx.Rngs` that makes a module, or a class. Wu et al., "Learning a probabilistic
latent space of object shapes via 3D generative-adversarial modeling", 2016.
"""

import jax
import jax.numpy as jnp
from flax import nnx

import gan_jax
from gan_jax.networks import from_nnx


def make_generator(rngs):
    dense = nnx.Linear(4, 4 * 4 * 4 * 16, rngs=rngs)
    conv = nnx.ConvTranspose(16, 1, (2, 2, 2), strides=(2, 2, 2), rngs=rngs)
    return nnx.Sequential(dense, nnx.relu, lambda x: x.reshape(-1, 4, 4, 4, 16), conv, jnp.tanh)


def make_discriminator(rngs):
    conv = nnx.Conv(1, 16, (2, 2, 2), strides=(2, 2, 2), rngs=rngs)
    dense = nnx.Linear(4 * 4 * 4 * 16, 1, rngs=rngs)
    return nnx.Sequential(conv, nnx.leaky_relu, lambda x: x.reshape(len(x), -1), dense)


adam, penalty = gan_jax.optimizers.adam(2e-3), gan_jax.Term(0.5, gan_jax.penalties.r1_r2())
loss, latent = gan_jax.losses.relativistic(), gan_jax.latents.normal(4)
networks = from_nnx(make_generator), from_nnx(make_discriminator)
gan = gan_jax.GAN(*networks, loss, adam, adam, latent, discriminator_terms=(penalty,))
distance = jnp.linalg.norm(jnp.mgrid[:8, :8, :8] - 3.5, axis=0)[..., None]  # from the centre
radius = jax.random.uniform(jax.random.key(1), (300, 16, 1, 1, 1, 1), minval=1.5, maxval=4.0)
balls = jnp.tanh(2 * (radius - distance))  # [steps, B, 8, 8, 8, 1]
state = gan_jax.init(gan, jax.random.key(0), {"image": balls[0]})
state, _ = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 300))(state, {"image": balls})
samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(2), (150, 4)))
same = ((samples > 0) == (balls[:150, :1] > 0)).mean(axis=(2, 3, 4, 5)).max(axis=0).mean()
print(f"{same:.0%} of a sample's voxels are those of its nearest ball")
assert same > 0.9
