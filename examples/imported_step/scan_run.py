"""A whole run in one program: `lax.scan` of the step, with batches that are drawn inside it.

Without a wrapper the step is a plain function, so it goes into any transformation of JAX.
"""

import jax
import jax.numpy as jnp

import gan_jax
from gan_jax.models import mlp

gan = gan_jax.GAN(
    generator=mlp.Generator(shape=(2,), width=64, tanh=False),
    discriminator=mlp.Discriminator(width=64),
    loss=gan_jax.losses.relativistic(),
    generator_tx=gan_jax.optimizers.adam(1e-3),
    discriminator_tx=gan_jax.optimizers.adam(1e-3),
    latent=gan_jax.latents.normal(4),
    discriminator_terms=(gan_jax.Term(0.1, gan_jax.penalties.r1_r2()),),
)
step = gan_jax.make_train_step(gan)


def batch(key):
    return {"image": jnp.array([1.0, -1.0]) + 0.5 * jax.random.normal(key, (64, 2))}


@jax.jit
def run(key):
    state = gan_jax.init(gan, key, batch(key))
    return jax.lax.scan(lambda state, key: step(state, batch(key)), state, jax.random.split(key, 300))


state, metrics = run(jax.random.key(0))
samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(1), (1000, 4)))
print(f"loss of the last steps {metrics['loss/discriminator'][-3:]}, mean of samples {samples.mean(0)}")
assert jnp.allclose(samples.mean(0), jnp.array([1.0, -1.0]), atol=0.2)
assert jnp.allclose(samples.std(0), 0.5, atol=0.25)
