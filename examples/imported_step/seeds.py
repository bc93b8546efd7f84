"""Eight seeds at once: `vmap` over whole runs says how far a result depends on the seed.

`init` and the step are pure functions of a key, so a run is one too.
"""

import jax
import jax.numpy as jnp

import gan_jax
from gan_jax.models import mlp

gan = gan_jax.GAN(
    generator=mlp.Generator(shape=(2,), width=32, tanh=False),
    discriminator=mlp.Discriminator(width=32),
    loss=gan_jax.losses.non_saturating(),
    generator_tx=gan_jax.optimizers.adam(1e-3),
    discriminator_tx=gan_jax.optimizers.adam(1e-3),
    latent=gan_jax.latents.normal(4),
    discriminator_terms=(gan_jax.Term(0.1, gan_jax.penalties.r1()),),
)
points = jnp.array([1.0, -1.0]) + 0.5 * jax.random.normal(jax.random.key(1), (200, 64, 2))


def run(key):
    """Trains with the seed `key`, and returns the mean of the samples."""
    state = gan_jax.init(gan, key, {"image": points[0]})
    state, _ = jax.lax.scan(gan_jax.make_train_step(gan), state, {"image": points})
    latents = jax.vmap(gan.latent)(jax.random.split(jax.random.key(2), 1000))
    return gan_jax.make_sampler(gan)(state.ema, latents).mean(axis=0)


means = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 8))
print(f"the mean of the samples is {means.mean(0)} +- {means.std(0)} over eight seeds")
assert jnp.allclose(means.mean(0), jnp.array([1.0, -1.0]), atol=0.2)
assert (means.std(0) > 0).all()
