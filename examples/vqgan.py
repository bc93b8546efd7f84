"""VQGAN on digits: a tokenizer whose reconstructions a discriminator judges, on the imported step.

Esser et al., "Taming transformers for high-resolution image synthesis", 2021: reconstruction, codebook and
commitment losses; a PatchGAN that starts late; its adaptive weight (equation 7). Codes of length 1 in few
dimensions are those of Yu et al., "Vector-quantized image modeling with improved VQGAN", 2022. The rest is ours:
digits of 16 x 16 pixels with 16 tokens each, small networks, no perceptual loss.

    python examples/vqgan.py    # 60 s of CPU time: PSNR 22.8 dB, 89 % of the codes in use; writes vqgan.png
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import gan_jax
from gan_jax.data.digits import digits
from gan_jax.report import grid, save_png

BATCH, CODES, START = 32, 64, 12_800  # the discriminator starts after 12,800 images, 400 steps
IMAGES = digits(size=16).read(np.arange(1797))["image"].astype(np.float32) / 127.5 - 1  # the last 297 are new


class Tokenizer(nn.Module):
    @nn.compact
    def __call__(self, image):
        """Maps images `[B, 16, 16, 1]` to tokens `[B, 4, 4]` and back; aux has vectors, codes and tokens."""
        x = nn.silu(nn.Conv(32, (4, 4), strides=2)(image))
        x = nn.silu(nn.Conv(64, (4, 4), strides=2)(x))
        encoded = unit(nn.Conv(8, (1, 1))(x))
        codebook = unit(self.param("codebook", nn.initializers.normal(1.0), (CODES, 8)))
        tokens = jnp.argmax(encoded @ codebook.T, axis=-1)  # of unit vectors: the nearest code
        codes = codebook[tokens]
        x = encoded + jax.lax.stop_gradient(codes - encoded)  # the gradient goes straight through
        for width in (64, 32):
            x = nn.silu(nn.Conv(width, (3, 3))(x)).repeat(2, axis=1).repeat(2, axis=2)
        x = nn.silu(nn.Conv(32, (3, 3))(x))
        return nn.Conv(1, (3, 3), name="out")(x), {"encoded": encoded, "codes": codes, "tokens": tokens}


class PatchGAN(nn.Module):
    @nn.compact
    def __call__(self, image):
        for width in (32, 64):
            image = nn.leaky_relu(nn.Conv(width, (4, 4), strides=2)(image), 0.2)
        return nn.Conv(1, (3, 3))(image)[..., 0]


def unit(x):
    return x * jax.lax.rsqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-6)


def make_gan() -> gan_jax.GAN:
    late = gan_jax.schedules.linear(0.0, 1.0, images=1.0, delay=START)
    adam, l1 = gan_jax.optimizers.adam, gan_jax.penalties.reconstruction("l1")
    return gan_jax.GAN(
        Tokenizer(), PatchGAN(), gan_jax.losses.hinge(), generator_tx=adam(2e-3), discriminator_tx=adam(5e-4),
        inputs=lambda row, key: row["image"],
        generator_terms=(gan_jax.Term(1.0, l1), gan_jax.Term(1.0, gan_jax.penalties.commitment())),
        generator_weight=lambda images: 0.1 * late(images), discriminator_weight=late,
        adaptive_weight=gan_jax.AdaptiveWeight(lambda params: params["out"]["kernel"]),
    )  # fmt: skip


def train(steps: int = 800) -> dict:
    """Returns new digits, their reconstructions, the PSNR in dB, and the share of the codes in use."""
    gan, rng = make_gan(), np.random.default_rng(0)
    state = gan_jax.init(gan, jax.random.key(0), {"image": IMAGES[:BATCH]})
    step = gan_jax.jit_step(gan_jax.make_train_step(gan))
    for _ in range(steps):
        state, _ = step(state, {"image": IMAGES[rng.integers(1500, size=BATCH)]})
    made, aux = gan.generator.apply(state.ema, new := IMAGES[1500:])
    psnr = 10 * np.log10(4 / np.mean((made - new) ** 2))
    return {"images": new, "made": np.asarray(made), "psnr": psnr, "use": len(np.unique(aux["tokens"])) / CODES}


if __name__ == "__main__":
    found = train()
    print(f"PSNR {found['psnr']:.1f} dB, {found['use']:.0%} of the codes in use")
    save_png("vqgan.png", grid(np.concatenate([found["images"][:32], found["made"][:32]]), columns=8))
