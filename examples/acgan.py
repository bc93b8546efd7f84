"""ACGAN on digits: a discriminator with two heads, on the imported step.

Odena et al., "Conditional image synthesis with auxiliary classifier GANs", 2017: the discriminator returns a
logit and the log-probability of the label, which both players maximise. The rest is ours: digits of 8 x 8
pixels, fully connected networks, and R1, which reads the logit alone (`Loss.logit`). A classifier that gan_jax
trains on the same digits reads the generated ones.

    python examples/acgan.py        # 20 s of one CPU core: 99 % are read as the class asked for; writes acgan.png
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import gan_jax
from gan_jax.data.digits import digits
from gan_jax.metrics.features.classifier import classifier
from gan_jax.models import mlp
from gan_jax.pixels import to_uint8
from gan_jax.report import grid, save_png

BATCH, FUSED, CLASSES = 64, 100, 10


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, image, label):
        x = image.reshape(len(image), -1)
        for _ in range(2):
            x = nn.leaky_relu(nn.Dense(256)(x), 0.2)
        classes = nn.log_softmax(nn.Dense(CLASSES)(x))
        return {"logit": nn.Dense(1)(x), "class": jnp.sum(classes * nn.one_hot(label, CLASSES), axis=-1)}


def make_gan() -> gan_jax.GAN:
    logits = gan_jax.losses.non_saturating()
    loss = gan_jax.Loss(
        lambda real, fake: logits.generator(real["logit"], fake["logit"]) - fake["class"].mean(),
        lambda r, f: logits.discriminator(r["logit"], f["logit"]) - r["class"].mean() - f["class"].mean(),
        logit=lambda output: output["logit"],
    )
    return gan_jax.GAN(
        generator=mlp.Generator(shape=(8, 8, 1), width=256, classes=CLASSES),
        discriminator=Discriminator(),
        loss=loss,
        generator_tx=gan_jax.optimizers.adam(1e-3, b1=0.0),
        discriminator_tx=gan_jax.optimizers.adam(1e-3, b1=0.0),
        latent=gan_jax.latents.normal(32),
        discriminator_terms=(gan_jax.Term(1.0, gan_jax.penalties.r1()),),
    )


def train(steps: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Trains for `steps` steps; returns 1000 digits `[1000, 8, 8, 1]` of uint8 and the classes asked for."""
    gan, data, rng = make_gan(), digits().read(np.arange(1797)), np.random.default_rng(seed)
    state = gan_jax.init(gan, jax.random.key(seed), {name: rows[:BATCH] for name, rows in data.items()})
    step = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), FUSED))
    for _ in range(0, steps, FUSED):
        rows = rng.integers(1797, size=(FUSED, BATCH))
        state, _ = step(state, {name: array[rows] for name, array in data.items()})
    label = np.arange(1000) % CLASSES
    latents = jax.vmap(gan.latent)(jax.random.split(jax.random.key(seed + 1), 1000))
    return to_uint8(np.asarray(gan_jax.make_sampler(gan)(state.ema, latents, label))), label


def classes_of(images: np.ndarray) -> np.ndarray:
    """Returns the classes of digits `[N, 8, 8, 1]`, as the classifier reads them."""
    judge = classifier(digits())
    return np.argmax(jax.jit(judge.apply)(judge.params, images).logits, axis=1)


if __name__ == "__main__":
    images, label = train(*map(int, sys.argv[1:]))
    print(f"{(classes_of(images) == label).mean():.1%} of the digits have the class that was asked for")
    save_png("acgan.png", grid(images[:100], columns=10))
