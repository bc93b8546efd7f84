"""Conditional on attributes: the label is a vector of numbers for each sample, `[B, A]`, and not a class.

Mirza and Osindero, "Conditional generative adversarial nets", 2014. The attributes are where a sample lies.
Generated samples have the attributes of the batch's real ones.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

import gan_jax


class Player(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x, label):
        x = jnp.concatenate([x, label], axis=-1)
        for _ in range(2):
            x = nn.leaky_relu(nn.Dense(64)(x), 0.2)
        return nn.Dense(self.outputs)(x)


adam, penalty = gan_jax.optimizers.adam(2e-3), gan_jax.Term(0.02, gan_jax.penalties.r1_r2())
loss, latent = gan_jax.losses.relativistic(), gan_jax.latents.normal(4)
gan = gan_jax.GAN(Player(2), Player(1), loss, adam, adam, latent, discriminator_terms=(penalty,))
place = jax.random.uniform(jax.random.key(1), (300, 128, 2), minval=-2.0, maxval=2.0)
points = place + 0.1 * jax.random.normal(jax.random.key(2), place.shape)
state = gan_jax.init(gan, jax.random.key(0), {"image": points[0], "label": place[0]})
train = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 300))
state, _ = train(state, {"image": points, "label": place})
latents, sample = jax.random.normal(jax.random.key(3), (1000, 4)), gan_jax.make_sampler(gan)
for asked in jnp.array([[-1.0, 1.0], [0.0, 0.0], [1.5, 0.5]]):
    samples = sample(state.ema, latents, jnp.tile(asked, (1000, 1)))
    print(f"asked for {asked} +- 0.1, made {samples.mean(0)} +- {samples.std(0)}")
    assert jnp.allclose(samples.mean(0), asked, atol=0.25)
