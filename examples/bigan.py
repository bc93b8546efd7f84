"""BiGAN on digits: an encoder learned with the generator, on the imported step.

Donahue et al., "Adversarial feature learning", 2017: the discriminator tells pairs (x, E(x)) from pairs (G(z), z), and
encoder and generator are trained together to fool it. So both kinds of pairs depend on what is trained. A sample of
this GAN is therefore one pair of each kind, made by one network, and the loss reads nothing but generated samples.
The batch gives x; its code is only there so that real samples have the same shape.

    python examples/bigan.py        # BIFIG; writes bigan.png
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import gan_jax
from gan_jax.data.digits import digits
from gan_jax.models import mlp
from gan_jax.report import grid, save_png

BATCH, FUSED, CODE = 64, 100, 16


class Generator(nn.Module):
    """Generator and encoder: reads `{"image", "code"}`, returns a pair of each kind."""

    @nn.compact
    def __call__(self, inputs):
        x = nn.leaky_relu(nn.Dense(256)(inputs["image"].reshape(-1, 64)), 0.2)
        code = nn.Dense(CODE)(nn.leaky_relu(nn.Dense(256)(x), 0.2))
        decode = mlp.Generator(shape=(8, 8, 1), width=256)
        return {
            "encoded": {"image": inputs["image"], "code": code},
            "decoded": {"image": decode(inputs["code"]), "code": inputs["code"]},
        }, decode(code)


class Discriminator(nn.Module):
    """Returns the logits of both pairs."""

    @nn.compact
    def __call__(self, pairs):
        critic = mlp.Discriminator(width=256)
        flat = {
            name: jnp.concatenate([p["image"].reshape(-1, 64), p["code"]], axis=1) for name, p in pairs.items()
        }
        return {name: critic(x) for name, x in flat.items()}


def make_gan() -> gan_jax.GAN:
    logits = gan_jax.losses.non_saturating()
    return gan_jax.GAN(
        generator=Generator(),
        discriminator=Discriminator(),
        loss=gan_jax.Loss(
            lambda real, fake: logits.discriminator(fake["decoded"], fake["encoded"]),  # the roles are swapped
            lambda real, fake: logits.discriminator(fake["encoded"], fake["decoded"]),
            logit=lambda output: (
                output["encoded"] + output["decoded"]
            ),  # R2 below: both kinds, each by its own pair
        ),
        generator_tx=gan_jax.optimizers.adam(5e-4, b1=0.0),
        discriminator_tx=gan_jax.optimizers.adam(5e-4, b1=0.0),
        inputs=lambda row, key: {
            "image": row["image"]["encoded"]["image"],
            "code": jax.random.normal(key, (CODE,)),
        },
        discriminator_terms=(gan_jax.Term(0.3, gan_jax.penalties.r2()),),
    )


def pairs_of(images: np.ndarray) -> dict:
    pair = {"image": images, "code": np.zeros((*images.shape[:-3], CODE), np.float32)}
    return {"image": {"encoded": pair, "decoded": pair}}


def train(steps: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    gan, rng = make_gan(), np.random.default_rng(seed)
    images = digits().read(rng.permutation(1797))["image"] / np.float32(127.5) - 1
    state = gan_jax.init(gan, jax.random.key(seed), pairs_of(images[:BATCH]))
    step = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), FUSED))
    for done in range(FUSED, steps + 1, FUSED):
        state, metrics = step(state, pairs_of(images[rng.integers(1500, size=(FUSED, BATCH))]))
        if done % 1000 == 0:
            inputs = {"image": images[1500:], "code": rng.standard_normal((297, CODE), np.float32)}
            s, again = gan.generator.apply(state.ema, inputs)
            print(
                done,
                {k: round(float(v.mean()), 3) for k, v in metrics.items()},
                np.abs(again - images[1500:]).mean(),
                np.asarray(s["encoded"]["code"].std(0)).round(2).min(),
                flush=True,
            )
    return {"real": images[1500:], "again": np.asarray(again), "made": np.asarray(s["decoded"]["image"])}


if __name__ == "__main__":
    found = train(*map(int, sys.argv[1:]))
    save_png("bigan.png", grid(np.concatenate([images[:10] for images in found.values()]), columns=10))
