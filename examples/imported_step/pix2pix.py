"""Conditional on images: pix2pix. The label is the source image, and the discriminator is a PatchGAN.

It returns a logit for each patch, `[B, h, w]`. An L1 penalty holds the generator to the target. Isola et al.,
"Image-to-image translation with conditional adversarial networks", 2017. Here it learns to draw edges.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

import gan_jax


class Translator(nn.Module):
    @nn.compact
    def __call__(self, latents, label):
        noise = jnp.broadcast_to(latents[:, None, None], (*label.shape[:3], latents.shape[-1]))
        x = nn.relu(nn.Conv(32, (3, 3))(jnp.concatenate([label, noise], axis=-1)))
        return jnp.tanh(nn.Conv(1, (3, 3))(x))


class PatchGAN(nn.Module):
    @nn.compact
    def __call__(self, image, label):
        x = nn.leaky_relu(nn.Conv(32, (3, 3), strides=(2, 2))(jnp.concatenate([image, label], axis=-1)), 0.2)
        return nn.Conv(1, (3, 3))(x)[..., 0]


adam, l1 = gan_jax.optimizers.adam(2e-3), gan_jax.Term(10.0, gan_jax.penalties.reconstruction())
loss, latent = gan_jax.losses.least_squares(), gan_jax.latents.normal(1)
gan = gan_jax.GAN(Translator(), PatchGAN(), loss, adam, adam, latent, generator_terms=(l1,))
source = jnp.sign(jax.random.normal(jax.random.key(1), (151, 16, 4, 4, 1))).repeat(4, 2).repeat(4, 3)
target = jnp.where(source == jnp.roll(source, 1, axis=3), -0.9, 0.9)
pairs, (new_source, new_target) = {"image": target[:150], "label": source[:150]}, (source[150], target[150])
state = gan_jax.init(gan, jax.random.key(0), jax.tree.map(lambda x: x[0], pairs))
state, _ = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 150))(state, pairs)
images = gan_jax.make_sampler(gan)(state.ema, jnp.zeros((16, 1)), new_source)
print(f"mean absolute error on new pairs: {(error := jnp.abs(images - new_target).mean()):.3f}")
assert error < 0.2
