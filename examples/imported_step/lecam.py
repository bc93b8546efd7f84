"""LeCam: a penalty with a state, moving averages of the logits. It has the same numbers on one device and on four.

A penalty that keeps a state names `axis_name`, the device axis under pmap, and takes its means over that axis too.
Tseng et al., "Regularizing generative adversarial networks under limited data", 2021, equation 3.
"""

import jax
import jax.numpy as jnp

import gan_jax
from gan_jax.models import mlp

jax.config.update("jax_num_cpu_devices", 4)


def lecam(decay: float = 0.9) -> gan_jax.Penalty:
    def apply(anchors, critic, real, fake, keys, *, axis_name):
        on_real, on_fake = critic(real), critic(fake)
        value = jnp.mean((on_real - anchors["fake"]) ** 2) + jnp.mean((on_fake - anchors["real"]) ** 2)
        means = jax.lax.stop_gradient({"real": on_real.mean(), "fake": on_fake.mean()})
        means = means if axis_name is None else jax.lax.pmean(means, axis_name)
        return value, jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, anchors, means)

    return gan_jax.Penalty("lecam", lambda: {"real": jnp.zeros(()), "fake": jnp.zeros(())}, apply)


generator, discriminator = mlp.Generator(shape=(2,), width=32, tanh=False), mlp.Discriminator(width=32)
loss, sgd, term = gan_jax.losses.hinge(), gan_jax.optimizers.sgd(0.02), gan_jax.Term(0.3, lecam())
gan = gan_jax.GAN(generator, discriminator, loss, sgd, sgd, gan_jax.latents.normal(4), discriminator_terms=(term,))
points = 2.0 + jax.random.normal(jax.random.key(1), (100, 32, 2))
one = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 100))
four = gan_jax.pmap_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan, axis_name="devices"), 100), "devices")
anchors = []
for train in (one, four):
    state, _ = train(gan_jax.init(gan, jax.random.key(0), {"image": points[0]}), {"image": points})
    anchors.append(jax.device_get(state.discriminator.penalties[0]))
print(f"on one device {anchors[0]}, on four {anchors[1]}")
assert all(abs(anchors[0][name] - anchors[1][name]) < 1e-4 for name in ("real", "fake"))
