"""WGAN-GP on vectors: five updates of the critic for one of the generator.

A step then reads several batches, `gan.batches_per_step`, as the leading axis of what it gets. Gulrajani et al.,
"Improved training of Wasserstein GANs", 2017, algorithm 1.
"""

import jax
import jax.numpy as jnp

import gan_jax
from gan_jax.models import mlp

gan = gan_jax.GAN(
    generator=mlp.Generator(shape=(2,), width=64, tanh=False),
    discriminator=mlp.Discriminator(width=64),
    loss=gan_jax.losses.wasserstein(),
    generator_tx=gan_jax.optimizers.adam(1e-3, b1=0.0, b2=0.9),
    discriminator_tx=gan_jax.optimizers.adam(1e-3, b1=0.0, b2=0.9),
    latent=gan_jax.latents.normal(4),
    discriminator_terms=(gan_jax.Term(1.0, gan_jax.penalties.wgan_gp()),),
    disc_steps=5,
    share_latents=False,  # the generator's update has latents and real samples of its own: six batches
)
mean, deviation = jnp.array([1.0, -1.0]), jnp.array([0.5, 2.0])
shape = (200, gan.batches_per_step, 64, 2)
batches = {"image": mean + deviation * jax.random.normal(jax.random.key(1), shape)}

state = gan_jax.init(gan, jax.random.key(0), jax.tree.map(lambda x: x[0], batches))
train = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 200))  # 200 steps in one program
state, metrics = train(state, batches)

latents = jax.vmap(gan.latent)(jax.random.split(jax.random.key(2), 2000))
samples = gan_jax.make_sampler(gan)(state.ema, latents)
print(f"mean {samples.mean(0)} for {mean}, deviation {samples.std(0)} for {deviation}")
assert jnp.allclose(samples.mean(0), mean, atol=0.3)
assert jnp.allclose(samples.std(0), deviation, atol=0.4)
