"""PacGAN: the discriminator judges two samples at once, so it sees when they are too much alike.

A sample of this GAN is a pack: two latents become two points. Lin et al., "PacGAN: the power of two samples in
generative adversarial networks", 2018.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

import gan_jax
from gan_jax.models import mlp

PACK = 2


class Generator(nn.Module):
    @nn.compact
    def __call__(self, latents):  # [B, PACK, Z] to [B, PACK, 2], each point from its own latent
        x = nn.leaky_relu(nn.Dense(64)(latents), 0.2)
        x = nn.leaky_relu(nn.Dense(64)(x), 0.2)
        return nn.Dense(2)(x)


adam, penalty = gan_jax.optimizers.adam(1e-3), gan_jax.Term(0.1, gan_jax.penalties.r1_r2())
discriminator, loss = mlp.Discriminator(width=64), gan_jax.losses.relativistic()  # it reads all of a pack
draw = {"latent": lambda key: jax.random.normal(key, (PACK, 4))}
gan = gan_jax.GAN(Generator(), discriminator, loss, adam, adam, discriminator_terms=(penalty,), **draw)
corners = jax.random.choice(jax.random.key(1), jnp.array([-2.0, 2.0]), (300, 64, PACK, 2))
packs = corners + 0.2 * jax.random.normal(jax.random.key(2), corners.shape)  # four clusters
state = gan_jax.init(gan, jax.random.key(0), {"image": packs[0]})
state, _ = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 300))(state, {"image": packs})
samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(3), (500, PACK, 4))).reshape(-1, 2)
shares = jnp.bincount(2 * (samples[:, 0] > 0) + (samples[:, 1] > 0), length=4) / len(samples)
print(f"shares of the four clusters: {shares}, mean distance from the axes {jnp.abs(samples).mean(0)} for [2, 2]")
assert jnp.allclose(jnp.abs(samples).mean(0), 2.0, atol=0.5)
assert shares.min() > 0.1
