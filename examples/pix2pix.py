"""Digits drawn from their edges: pix2pix, on the imported step.

Isola et al., "Image-to-image translation with conditional adversarial networks", 2017: the label is the source image,
the discriminator is a PatchGAN that sees both and returns a logit for each patch, and an L1 loss with weight 100 holds
the generator to the target. The rest is ours: digits of 8 x 8 pixels, a fully connected generator without dropout,
and least squares. 1500 digits are for training, 297 held out.

    python examples/pix2pix.py
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import gan_jax
from gan_jax.data.digits import digits
from gan_jax.report import grid, save_png

BATCH, FUSED = 64, 100


def edges(images: np.ndarray) -> np.ndarray:
    """Returns the outlines of digits `[N, 8, 8, 1]`: 1 where a pixel is dark and one beside it is bright, else -1."""
    bright = np.pad(images[..., 0] > 127, ((0, 0), (1, 1), (1, 1)))
    beside = bright[:, 2:, 1:-1] | bright[:, :-2, 1:-1] | bright[:, 1:-1, 2:] | bright[:, 1:-1, :-2]
    return np.where(beside & ~bright[:, 1:-1, 1:-1], 1.0, -1.0).astype(np.float32)[..., None]


class Generator(nn.Module):
    @nn.compact
    def __call__(self, source):
        x = source.reshape(len(source), -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(256)(x))
        return jnp.tanh(nn.Dense(64)(x)).reshape(source.shape)


class PatchGAN(nn.Module):
    @nn.compact
    def __call__(self, image, label):
        x = nn.leaky_relu(nn.Conv(32, (4, 4), strides=(2, 2))(jnp.concatenate([image, label], axis=-1)), 0.2)
        return nn.Dense(1)(nn.leaky_relu(nn.Dense(64)(x), 0.2))[..., 0]  # [B, 4, 4]: patches of 4 x 4 pixels


def make_gan() -> gan_jax.GAN:
    return gan_jax.GAN(
        generator=Generator(),
        discriminator=PatchGAN(),
        loss=gan_jax.losses.least_squares(),
        generator_tx=gan_jax.optimizers.adam(1e-3, b1=0.5),
        discriminator_tx=gan_jax.optimizers.adam(1e-3, b1=0.5),
        inputs=lambda row, key: row["label"],
        generator_terms=(gan_jax.Term(100.0, gan_jax.penalties.reconstruction("l1")),),
    )


def train(steps: int = 1500, seed: int = 0) -> dict[str, np.ndarray]:
    """Trains for `steps` steps; returns held-out edges, digits, ours and two blurred answers, `[297, 8, 8, 1]`."""
    gan, rng = make_gan(), np.random.default_rng(seed)
    data = digits().read(rng.permutation(1797))
    pairs = {"image": data["image"] / np.float32(127.5) - 1, "label": edges(data["image"])}
    state = gan_jax.init(gan, jax.random.key(seed), {name: array[:BATCH] for name, array in pairs.items()})
    step = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), FUSED))
    for _ in range(0, steps, FUSED):
        rows = rng.integers(1500, size=(FUSED, BATCH))
        state, _ = step(state, {name: array[rows] for name, array in pairs.items()})
    source, target = pairs["label"][1500:], pairs["image"][1500:]
    ours = gan_jax.make_sampler(gan)(state.ema, source)
    of_class = np.stack([pairs["image"][:1500][data["label"][:1500] == k].mean(axis=0) for k in range(10)])
    return {"edges": source, "real": target, "ours": np.asarray(ours), "mean": of_class[data["label"][1500:]]}


if __name__ == "__main__":
    found = train(*map(int, sys.argv[1:]))
    error = {name: np.abs(found[name] - found["real"]).mean() for name in ("ours", "mean")}
    print(f"L1 on held-out digits: {error['ours']:.3f}, of the mean digit of the class {error['mean']:.3f}")
    save_png("pix2pix.png", grid(np.concatenate([images[:10] for images in found.values()]), columns=10))
