"""Feature matching: the generator's loss compares the mean features of the discriminator, its second output.

Means mix samples, so the loss names `axis_name`. Salimans et al., "Improved techniques for training GANs", 2016.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

import gan_jax
from gan_jax.models import mlp


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, image):
        features = nn.tanh(nn.Dense(64)(image))
        return {"logit": nn.Dense(1)(features), "features": features}


def match_features(real, fake, axis_name):
    gap = (real["features"] - fake["features"]).mean(axis=0)
    return jnp.sum((gap if axis_name is None else jax.lax.pmean(gap, axis_name)) ** 2)


minimax = gan_jax.losses.minimax()
loss = gan_jax.Loss(
    generator=match_features,
    discriminator=lambda real, fake: minimax.discriminator(real["logit"], fake["logit"]),
    logit=lambda output: output["logit"],
)
adam, generator = gan_jax.optimizers.adam(1e-3), mlp.Generator(shape=(2,), width=64, tanh=False)
gan = gan_jax.GAN(generator, Discriminator(), loss, adam, adam, gan_jax.latents.normal(4))
points = jnp.array([1.0, -1.0]) + jnp.array([0.5, 1.5]) * jax.random.normal(jax.random.key(1), (300, 128, 2))
state = gan_jax.init(gan, jax.random.key(0), {"image": points[0]})
state, _ = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 300))(state, {"image": points})
samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(2), (1000, 4)))
print(f"mean {samples.mean(0)} for [1, -1], deviation {samples.std(0)} for [0.5, 1.5]")
assert jnp.allclose(samples.mean(0), jnp.array([1.0, -1.0]), atol=0.2)
