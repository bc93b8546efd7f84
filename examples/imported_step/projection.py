"""Conditional on classes: a projection discriminator with spectral normalisation, and the hinge loss.

`SpectralNormed` makes the power iteration once before each update of the network. Miyato and Koyama, "cGANs with
projection discriminator", 2018; Miyato et al., "Spectral normalization for GANs", 2018.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

import gan_jax
from gan_jax.models import mlp
from gan_jax.models.layers import Dense, Embed, SpectralNormed


class Discriminator(SpectralNormed):
    classes: int

    @nn.compact
    def __call__(self, image, label):
        x = nn.relu(Dense(64, spectral=True)(image))
        x = nn.relu(Dense(64, spectral=True)(x))
        embedded = Embed(64, classes=self.classes, spectral=True)(label)
        return Dense(1, spectral=True)(x)[:, 0] + jnp.sum(embedded * x, axis=-1)


generator = mlp.Generator(shape=(2,), width=64, tanh=False, classes=4)
slow, fast = gan_jax.optimizers.adam(1e-3, b1=0.0), gan_jax.optimizers.adam(4e-3, b1=0.0)
gan = gan_jax.GAN(generator, Discriminator(4), gan_jax.losses.hinge(), slow, fast, gan_jax.latents.normal(4))
centres, label = 2.0 * jnp.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]), jnp.tile(jnp.arange(64) % 4, (300, 1))
points = centres[label] + 0.5 * jax.random.normal(jax.random.key(1), (300, 64, 2))
state = gan_jax.init(gan, jax.random.key(0), {"image": points[0], "label": label[0]})
train = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 300))
state, _ = train(state, {"image": points, "label": label})
asked, latents = jnp.arange(1000) % 4, jax.random.normal(jax.random.key(2), (1000, 4))
samples = gan_jax.make_sampler(gan)(state.ema, latents, asked)
nearest = jnp.linalg.norm(samples[:, None] - centres, axis=-1).argmin(axis=1)
print(f"{(right := jnp.mean(nearest == asked)):.0%} of the samples are nearest to the centre of their class")
assert right > 0.9
