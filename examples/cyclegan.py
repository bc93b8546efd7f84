"""Digits and their negatives, unpaired: CycleGAN, on the imported step.

Zhu et al., "Unpaired image-to-image translation using cycle-consistent adversarial networks", 2017: two
generators, two discriminators, least squares, and an L1 loss with weight 10 after a cycle a, b, a. A sample of
this GAN is a dict of two images. The rest is ours: domain b has the negatives of other digits, moved down by
one pixel, so the true map is known; small networks, no buffer of old images.

    python examples/cyclegan.py     # 26 s of one CPU core: L1 0.06 to the true map, 1.47 without; writes a PNG
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import gan_jax
from gan_jax import networks
from gan_jax.data.digits import digits
from gan_jax.models import mlp
from gan_jax.report import grid, save_png

BATCH, FUSED = 64, 100


def true_map(images: np.ndarray) -> np.ndarray:
    """Returns what an image `[N, 8, 8, 1]` of domain a is in domain b."""
    return -np.roll(images, 1, axis=1)


class Translator(nn.Module):
    @nn.compact
    def __call__(self, image):
        x = nn.relu(nn.Conv(16, (3, 3), padding="CIRCULAR")(image))
        return jnp.tanh(nn.Conv(1, (3, 3), padding="CIRCULAR")(x))


class Generator(nn.Module):
    @nn.compact
    def __call__(self, image):
        to_a, to_b = Translator(), Translator()
        fake = {"a": to_a(image["b"]), "b": to_b(image["a"])}
        return fake, {"a": to_a(fake["b"]), "b": to_b(fake["a"])}


def make_gan() -> gan_jax.GAN:
    cycle = gan_jax.penalties.reconstruction("l1", lambda image, aux, inputs, real: (inputs, aux), name="cycle")
    of_a = networks.after(lambda image: image["a"], mlp.Discriminator(width=128))
    of_b = networks.after(lambda image: image["b"], mlp.Discriminator(width=128))
    return gan_jax.GAN(
        generator=Generator(),
        discriminator=networks.ensemble({"a": of_a, "b": of_b}),
        loss=gan_jax.losses.over_members(gan_jax.losses.least_squares()),
        generator_tx=gan_jax.optimizers.adam(1e-3, b1=0.5),
        discriminator_tx=gan_jax.optimizers.adam(1e-3, b1=0.5),
        inputs=lambda row, key: row["image"],
        generator_terms=(gan_jax.Term(10.0, cycle),),
    )


def train(steps: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
    """Trains for `steps` steps; returns held-out digits, their true and our translation, `[197, 8, 8, 1]` each."""
    gan, rng = make_gan(), np.random.default_rng(seed)
    images = digits().read(rng.permutation(1797))["image"] / np.float32(127.5) - 1
    a, b, held_out = images[:800], true_map(images[800:1600]), images[1600:]
    state = gan_jax.init(gan, jax.random.key(seed), {"image": {"a": a[:BATCH], "b": b[:BATCH]}})
    step = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), FUSED))
    for _ in range(0, steps, FUSED):
        rows = rng.integers(800, size=(2, FUSED, BATCH))
        state, _ = step(state, {"image": {"a": a[rows[0]], "b": b[rows[1]]}})
    ours = gan_jax.make_sampler(gan)(state.ema, {"a": held_out, "b": held_out})
    return {"a": held_out, "true": true_map(held_out), "ours": np.asarray(ours["b"])}


if __name__ == "__main__":
    found = train(*map(int, sys.argv[1:]))
    error = {name: np.abs(found[name] - found["true"]).mean() for name in ("a", "ours")}
    print(f"L1 to the true translation: {error['ours']:.3f}, without a translation {error['a']:.3f}")
    save_png("cyclegan.png", grid(np.concatenate([images[:10] for images in found.values()]), columns=10))
