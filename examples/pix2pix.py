"""Digits drawn from their edges: pix2pix, on the imported step.

Isola et al., "Image-to-image translation with conditional adversarial networks", 2017: the label is the source,
a PatchGAN sees both images and returns a logit for each patch, and an L1 loss with weight 100 holds the
generator to the target. The rest is ours: digits of 8 x 8 pixels, a fully connected generator without noise,
least squares. 1500 digits are for training; the figure is that of the other 297. Beside it is that of a blurred
mean, the linear map of the edges with the least squared error.

    python examples/pix2pix.py      # 18 s of one CPU core: L1 0.140, blurred mean 0.153; writes pix2pix.png
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
    """Returns the outlines of digits `[N, 8, 8, 1]`: 1 where a dark pixel is beside a bright one, else -1."""
    bright = np.pad(images[..., 0] > 127, ((0, 0), (1, 1), (1, 1)))
    beside = bright[:, 2:, 1:-1] | bright[:, :-2, 1:-1] | bright[:, 1:-1, 2:] | bright[:, 1:-1, :-2]
    return np.where(beside & ~bright[:, 1:-1, 1:-1], 1.0, -1.0).astype(np.float32)[..., None]


class Generator(nn.Module):
    @nn.compact
    def __call__(self, source):
        x = nn.relu(nn.Dense(256)(source.reshape(len(source), -1)))
        return jnp.tanh(nn.Dense(64)(nn.relu(nn.Dense(256)(x)))).reshape(source.shape)


class PatchGAN(nn.Module):
    @nn.compact
    def __call__(self, image, label):
        x = nn.leaky_relu(nn.Conv(32, (4, 4), strides=(2, 2))(jnp.concatenate([image, label], axis=-1)), 0.2)
        return nn.Dense(1)(nn.leaky_relu(nn.Dense(64)(x), 0.2))[..., 0]  # [B, 4, 4], one for 4 x 4 pixels


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


def train(steps: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
    """Trains for `steps` steps; returns held-out edges and digits, ours and blurred means, `[297, 8, 8, 1]`."""
    gan, rng = make_gan(), np.random.default_rng(seed)
    images = digits().read(rng.permutation(1797))["image"]
    pairs = {"image": images / np.float32(127.5) - 1, "label": edges(images)}
    state = gan_jax.init(gan, jax.random.key(seed), {name: array[:BATCH] for name, array in pairs.items()})
    step = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), FUSED))
    for _ in range(0, steps, FUSED):
        rows = rng.integers(1500, size=(FUSED, BATCH))
        state, _ = step(state, {name: array[rows] for name, array in pairs.items()})
    held_out = {"edges": pairs["label"][1500:], "real": pairs["image"][1500:]}
    ours = gan_jax.make_sampler(gan)(state.ema, held_out["edges"])
    lines = np.insert(pairs["label"].reshape(-1, 64), 0, 1.0, axis=1)
    linear = np.linalg.lstsq(lines[:1500], pairs["image"][:1500].reshape(-1, 64))[0]
    blurred = np.clip(lines[1500:] @ linear, -1, 1).reshape(-1, 8, 8, 1)
    return {**held_out, "ours": np.asarray(ours), "blurred": blurred}


if __name__ == "__main__":
    found = train(*map(int, sys.argv[1:]))
    print({f"L1 of {name}": f"{np.abs(images - found['real']).mean():.3f}" for name, images in found.items()})
    save_png("pix2pix.png", grid(np.concatenate([images[:10] for images in found.values()]), columns=10))
