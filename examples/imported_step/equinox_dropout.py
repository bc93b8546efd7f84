"""Equinox modules, which are functions of one sample, with dropout in the discriminator.

`from_equinox` maps them over the batch. `key` is the sample's own key in a training step; dropout needs no other
argument, for the adapter sets `eqx.nn.inference_mode`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

import gan_jax
from gan_jax.networks import from_equinox


class Discriminator(eqx.Module):
    hidden: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    out: eqx.nn.Linear

    def __init__(self, key):
        first, second = jax.random.split(key)
        self.hidden, self.out = eqx.nn.Linear(2, 128, key=first), eqx.nn.Linear(128, "scalar", key=second)
        self.dropout = eqx.nn.Dropout(0.2)

    def __call__(self, point, key):
        return self.out(self.dropout(jax.nn.leaky_relu(self.hidden(point), 0.2), key=key))


generator = from_equinox(lambda key: eqx.nn.MLP(4, 2, width_size=64, depth=2, key=key))
adam, penalty = gan_jax.optimizers.adam(2e-3), gan_jax.Term(0.1, gan_jax.penalties.r1_r2())
loss, latent = gan_jax.losses.relativistic(), gan_jax.latents.normal(4)
gan = gan_jax.GAN(generator, from_equinox(Discriminator), loss, adam, adam, latent, discriminator_terms=(penalty,))
points = jnp.array([1.0, -1.0]) + 0.5 * jax.random.normal(jax.random.key(1), (300, 64, 2))
state = gan_jax.init(gan, jax.random.key(0), {"image": points[0]})
state, _ = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 300))(state, {"image": points})
samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(2), (1000, 4)))
print(f"mean {samples.mean(0)} for [1, -1], deviation {samples.std(0)} for 0.5")
assert jnp.allclose(samples.mean(0), jnp.array([1.0, -1.0]), atol=0.3)
