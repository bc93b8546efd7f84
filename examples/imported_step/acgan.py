"""ACGAN: the discriminator has two heads, a logit and the log-probability of the label.

`Loss.logit` says which head is the critic: penalties, adaptive augmentation and the metrics of logits read it
alone. Odena et al., "Conditional image synthesis with auxiliary classifier GANs", 2017.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

import gan_jax
from gan_jax.models import mlp


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, image, label):
        x = nn.leaky_relu(nn.Dense(64)(image), 0.2)
        classes = nn.log_softmax(nn.Dense(4)(x))
        return {"logit": nn.Dense(1)(x)[:, 0], "class": jnp.sum(classes * nn.one_hot(label, 4), axis=-1)}


hinge, adam, r1 = gan_jax.losses.hinge(), gan_jax.optimizers.adam(1e-3), gan_jax.Term(0.1, gan_jax.penalties.r1())
loss = gan_jax.Loss(
    lambda real, fake: hinge.generator(real["logit"], fake["logit"]) - fake["class"].mean(),
    lambda real, fake: hinge.discriminator(real["logit"], fake["logit"]) - (real["class"] + fake["class"]).mean(),
    logit=lambda output: output["logit"],
)
generator, latent = mlp.Generator(shape=(2,), width=64, tanh=False, classes=4), gan_jax.latents.normal(4)
gan = gan_jax.GAN(generator, Discriminator(), loss, adam, adam, latent, discriminator_terms=(r1,))
label = jax.random.randint(jax.random.key(1), (300, 64), 0, 4)
points = jax.random.normal(jax.random.key(2), (300, 64, 2)) / 3 + 4 * jnp.stack([label // 2, label % 2], -1) - 2
state = gan_jax.init(gan, jax.random.key(0), {"image": points[0], "label": label[0]})
step = gan_jax.fuse_steps(gan_jax.make_train_step(gan), 300)
state, _ = gan_jax.jit_step(step)(state, {"image": points, "label": label})
samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(3), (64, 4)), label[0])
right = jnp.mean(2 * (samples[:, 0] > 0) + (samples[:, 1] > 0) == label[0])
print(f"{right:.0%} of the samples have the class that was asked for")
assert right > 0.95
