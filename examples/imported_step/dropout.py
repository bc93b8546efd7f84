"""Linen's own dropout: each sample has its own mask, so no mask depends on devices or microbatches.

Here four microbatches, each with masks, give the weights of the whole batch.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

import gan_jax
from gan_jax.models import mlp


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, image, train):
        x = image.reshape(len(image), -1)
        for _ in range(2):
            x = nn.leaky_relu(nn.Dense(64)(x), 0.2)
            x = nn.Dropout(0.3, deterministic=not train)(x)
        return nn.Dense(1)(x)


sgd, loss, latent = gan_jax.optimizers.sgd(0.05), gan_jax.losses.hinge(), gan_jax.latents.normal(16)
whole = gan_jax.GAN(mlp.Generator(shape=(8, 8, 1), width=64), Discriminator(), loss, sgd, sgd, latent)
parts = dataclasses.replace(whole, microbatches=4)
images = jax.random.uniform(jax.random.key(1), (50, 64, 8, 8, 1), minval=-1.0)
weights = []
for gan in (whole, parts):
    state = gan_jax.init(gan, jax.random.key(0), {"image": images[0]})
    train = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 50))
    weights.append(train(state, {"image": images})[0].discriminator.params)
gap = max(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.abs(a - b).max(), *weights)))
print(f"after 50 steps with dropout the weights differ by {gap:.0e}")
assert gap < 1e-5
