"""An augmentation of your own, with a state: instance noise that fades out as images are seen.

`apply` gets one key for each sample and must be differentiable; `update` changes the state once a step. Soenderby
et al., "Amortised MAP inference for image super-resolution", 2017, section 3.4.
"""

import jax
import jax.numpy as jnp

import gan_jax
from gan_jax.models import mlp


def instance_noise(start: float, images: int) -> gan_jax.Augment:
    def deviation(seen):
        return start * jnp.maximum(0.0, 1.0 - seen / images)

    def apply(seen, image, keys):
        noise = jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(keys)
        return image + deviation(seen) * noise

    return gan_jax.Augment(
        init=lambda: jnp.zeros(()),
        apply=apply,
        update=lambda seen, logits, batch: seen + batch,
        metrics=lambda seen: {"augment/deviation": deviation(seen)},
    )


adam, generator = gan_jax.optimizers.adam(1e-3), mlp.Generator(shape=(2,), width=64, tanh=False)
loss, latent, augment = gan_jax.losses.least_squares(), gan_jax.latents.normal(4), instance_noise(1.0, 300 * 64)
gan = gan_jax.GAN(generator, mlp.Discriminator(width=64), loss, adam, adam, latent, augment=augment)
points = jax.random.choice(jax.random.key(1), jnp.array([-1.0, 1.0]), (300, 64, 1)) * jnp.ones(2)  # two points
state = gan_jax.init(gan, jax.random.key(0), {"image": points[0]})
state, metrics = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), 300))(state, {"image": points})
samples = gan_jax.make_sampler(gan)(state.ema, jax.random.normal(jax.random.key(2), (1000, 4)))
print(f"noise {metrics['augment/deviation'][::100]}, samples {samples.mean(0)} +- {samples.std(0)}")
assert metrics["augment/deviation"][-1] == 0
assert jnp.allclose(samples.std(0), 1.0, atol=0.3)  # both points: with one of them it is 0
