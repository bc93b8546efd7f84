"""Digits of 4 x 4 pixels enlarged to 8 x 8: SRGAN's losses, on the imported step.

Ledig et al., "Photo-realistic single image super-resolution using a GAN", 2017: the mean squared error and 1e-3
times an adversarial loss, which starts late (`generator_weight` and `discriminator_weight` are schedules). The
generator is called with the small image, which `inputs` makes of the real one. The rest is ours: digits, fully
connected networks, R1. 1500 digits are for training; the PSNR is that of the other 297.

    python examples/super_resolution.py   # 13 s of one CPU core: 19.2 dB, bicubic 13.4 dB; writes a PNG
"""

import sys

import jax
import numpy as np
from flax import linen as nn

import gan_jax
from gan_jax.data.digits import digits
from gan_jax.models import mlp
from gan_jax.report import grid, save_png

BATCH, FUSED, LATE = 64, 100, 1000  # the adversarial loss starts after `LATE` steps


def shrink(image):
    """Returns the means of 2 x 2 pixels: `[..., 8, 8, 1]` to `[..., 4, 4, 1]`."""
    return image.reshape(*image.shape[:-3], 4, 2, 4, 2, 1).mean(axis=(-4, -2))


def bicubic(low):
    return jax.image.resize(low, (len(low), 8, 8, 1), "bicubic")


class Generator(nn.Module):
    @nn.compact
    def __call__(self, low):
        x = nn.relu(nn.Dense(256)(low.reshape(len(low), -1)))
        x = nn.relu(nn.Dense(256)(x))
        return bicubic(low) + nn.Dense(64)(x).reshape(-1, 8, 8, 1)


def make_gan() -> gan_jax.GAN:
    late = lambda weight: lambda images: weight * (images >= LATE * BATCH)  # noqa: E731
    return gan_jax.GAN(
        generator=Generator(),
        discriminator=mlp.Discriminator(width=128),
        loss=gan_jax.losses.non_saturating(),
        generator_tx=gan_jax.optimizers.adam(5e-4),
        discriminator_tx=gan_jax.optimizers.adam(5e-4),
        inputs=lambda row, key: shrink(row["image"]),
        generator_terms=(gan_jax.Term(1.0, gan_jax.penalties.reconstruction("l2")),),
        discriminator_terms=(gan_jax.Term(1.0, gan_jax.penalties.r1()),),
        generator_weight=late(1e-3),
        discriminator_weight=late(1.0),
    )


def psnr(images: np.ndarray, real: np.ndarray) -> float:
    """Returns the peak signal-to-noise ratio in dB, from the mean squared error of all images in [-1, 1]."""
    return float(10 * np.log10(4 / np.mean((np.clip(images, -1, 1) - real) ** 2)))


def train(steps: int = 2000, seed: int = 0) -> dict[str, np.ndarray]:
    """Trains for `steps` steps; returns held-out digits and their two enlarged forms, `[297, 8, 8, 1]` each."""
    gan, rng = make_gan(), np.random.default_rng(seed)
    images = digits().read(rng.permutation(1797))["image"]
    state = gan_jax.init(gan, jax.random.key(seed), {"image": images[:BATCH]})
    step = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), FUSED))
    for _ in range(0, steps, FUSED):
        state, _ = step(state, {"image": images[rng.integers(1500, size=(FUSED, BATCH))]})
    real = images[1500:] / np.float32(127.5) - 1
    ours = gan_jax.make_sampler(gan)(state.ema, shrink(real))
    return {"real": real, "bicubic": np.asarray(bicubic(shrink(real))), "ours": np.asarray(ours)}


if __name__ == "__main__":
    found = train(*map(int, sys.argv[1:]))
    print(", ".join(f"{name} {psnr(found[name], found['real']):.2f} dB" for name in ("bicubic", "ours")))
    save_png("super_resolution.png", grid(np.concatenate([images[:10] for images in found.values()]), columns=10))
