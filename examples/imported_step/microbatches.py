"""A large batch in parts: `microbatches=4` needs less memory and gives the same gradients, also of penalties.

That holds if networks, losses and penalties treat samples apart. `step.mixes_samples` names what does not.
"""

import dataclasses

import jax
import jax.numpy as jnp

import gan_jax
from gan_jax.models import mlp
from gan_jax.step import mixes_samples

whole = gan_jax.GAN(
    generator=mlp.Generator(shape=(8, 8, 1), width=64),
    discriminator=mlp.Discriminator(width=64),
    loss=gan_jax.losses.relativistic(),
    generator_tx=gan_jax.optimizers.sgd(0.05),
    discriminator_tx=gan_jax.optimizers.sgd(0.05),
    latent=gan_jax.latents.normal(16),
    discriminator_terms=(gan_jax.Term(1.0, gan_jax.penalties.r1_r2()),),
)
parts = dataclasses.replace(whole, microbatches=4)
images = jax.random.uniform(jax.random.key(1), (50, 256, 8, 8, 1), minval=-1.0)


def train(gan):
    state = gan_jax.init(gan, jax.random.key(0), {"image": images[0]})
    assert mixes_samples(gan, state) == []
    step = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), len(images)))
    return step(state, {"image": images})


(one, _), (other, _) = train(whole), train(parts)
gaps = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), one.generator.params, other.generator.params)
print(f"after {len(images)} steps the weights differ by {max(jax.tree.leaves(gaps)):.0e}")
assert max(jax.tree.leaves(gaps)) < 1e-5
