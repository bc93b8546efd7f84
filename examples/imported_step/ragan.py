"""RaGAN: a loss that compares each sample with the mean of the other kind, over the batch of all devices.

A loss that mixes samples names `axis_name`, the device axis under pmap; without it, pmap refuses the loss.
Jolicoeur-Martineau, "The relativistic discriminator", 2018, section 4.
"""

import jax
import jax.numpy as jnp
from jax.nn import softplus

import gan_jax
from gan_jax.models import mlp

jax.config.update("jax_num_cpu_devices", 4)


def critic_loss(real, fake, axis_name):
    means = real.mean(), fake.mean()
    on_real, on_fake = means if axis_name is None else jax.lax.pmean(means, axis_name)
    return softplus(on_fake - real).mean() + softplus(fake - on_real).mean()


def generator_loss(real, fake, axis_name):
    return critic_loss(fake, real, axis_name)


loss, adam = gan_jax.Loss(generator_loss, critic_loss), gan_jax.optimizers.adam(1e-3)
generator, discriminator = mlp.Generator(shape=(2,), width=32, tanh=False), mlp.Discriminator(width=32)
latent, r1 = gan_jax.latents.normal(4), gan_jax.Term(0.1, gan_jax.penalties.r1())
gan = gan_jax.GAN(generator, discriminator, loss, adam, adam, latent, discriminator_terms=(r1,))
points = 2.0 + jax.random.normal(jax.random.key(1), (300, 32, 2))
state = gan_jax.init(gan, jax.random.key(0), {"image": points[0]})
_, first = gan_jax.make_train_step(gan)(state, {"image": points[0]})  # on one device
four = gan_jax.pmap_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan, axis_name="devices"), 300), "devices")
state, metrics = four(state, {"image": points})
samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(2), (1000, 4)))
print(f"gradients {first['grad_norm/generator']}, {metrics['grad_norm/generator'][0]}; mean {samples.mean(0)}")
assert jnp.isclose(first["grad_norm/generator"], metrics["grad_norm/generator"][0], rtol=1e-5)
assert jnp.allclose(samples.mean(0), 2.0, atol=0.3)
