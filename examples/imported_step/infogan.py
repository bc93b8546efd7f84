"""InfoGAN: a code finds the clusters of data without labels. It is a label, which `fake_labels` draws.

The discriminator returns a logit and the code's log-probability, which both players maximise. Real samples have
no code: their label is None. Chen et al., "InfoGAN", 2016, equation 6.
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
        logit, codes = nn.Dense(1)(x)[:, 0], nn.log_softmax(nn.Dense(4)(x))
        return {"logit": logit, "code": None if label is None else jnp.sum(codes * nn.one_hot(label, 4), axis=-1)}


pairs, code = gan_jax.losses.relativistic(), lambda key: jax.random.choice(key, 4)
loss = gan_jax.Loss(
    lambda real, fake: pairs.generator(real["logit"], fake["logit"]) - fake["code"].mean(),
    lambda real, fake: pairs.discriminator(real["logit"], fake["logit"]) - fake["code"].mean(),
    logit=lambda output: output["logit"],
)
generator, latent = mlp.Generator(shape=(2,), width=64, tanh=False, classes=4), gan_jax.latents.normal(4)
adam, penalty = gan_jax.optimizers.adam(1e-3), gan_jax.Term(0.1, gan_jax.penalties.r1_r2())
gan = gan_jax.GAN(generator, Discriminator(), loss, adam, adam, latent, (), (penalty,), fake_labels=code)
corners = jax.random.choice(jax.random.key(1), jnp.array([-2.0, 2.0]), (300, 64, 2))
points = corners + 0.3 * jax.random.normal(jax.random.key(2), corners.shape)  # four clusters
state = gan_jax.init(gan, jax.random.key(0), {"image": points[0]})
state, _ = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 300))(state, {"image": points})
samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(3), (400, 4)), jnp.arange(400) % 4)
counts = jnp.zeros((4, 4)).at[jnp.arange(400) % 4, 2 * (samples[:, 0] > 0) + (samples[:, 1] > 0)].add(1)
print(f"the cluster of each code is {counts.argmax(axis=1)}, with {counts.max(axis=1) / 100} of its samples")
assert counts.max(axis=0).sum() > 380  # each cluster has a code of its own
