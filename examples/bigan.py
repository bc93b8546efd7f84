"""BiGAN on digits: an encoder that is trained with the generator, on the imported step.

Donahue et al., "Adversarial feature learning", 2017: the discriminator tells pairs (x, E(x)) from pairs (G(z), z).
Both kinds of pairs depend on what is trained, and the real samples of a step do not. So one generated sample is a
pair of each kind, and the losses read generated samples alone. The rest is ours: 16 codes, small networks, R2.

    python examples/bigan.py    # 21 s of one CPU core: L1 of G(E(x)) 0.21, of the median digit 0.37; writes a PNG
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

BATCH, FUSED, CODES = 64, 100, 16


class Generator(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        x, z = inputs["x"], inputs["z"]  # [B, 64] and [B, 16]; a pair is [B, 80]
        hidden = nn.leaky_relu(nn.Dense(256)(nn.leaky_relu(nn.Dense(256)(x), 0.2)), 0.2)
        code, decode = nn.Dense(CODES)(hidden), mlp.Generator(shape=(64,), width=256)
        pairs = {"encoded": jnp.concatenate([x, code], axis=1), "decoded": jnp.concatenate([decode(z), z], axis=1)}
        return pairs, decode(code)


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, pairs):
        critic = mlp.Discriminator(width=256)
        return {name: critic(pair) for name, pair in pairs.items()}


def make_gan() -> gan_jax.GAN:
    logits = gan_jax.losses.non_saturating()
    loss = gan_jax.Loss(
        lambda real, fake: logits.discriminator(fake["decoded"], fake["encoded"]),  # with the roles swapped
        lambda real, fake: logits.discriminator(fake["encoded"], fake["decoded"]),
        logit=lambda output: output["encoded"] + output["decoded"],  # R2 reads it: both pairs are penalised
    )
    return gan_jax.GAN(
        generator=Generator(),
        discriminator=Discriminator(),
        loss=loss,
        generator_tx=gan_jax.optimizers.adam(5e-4, b1=0.0),
        discriminator_tx=gan_jax.optimizers.adam(5e-4, b1=0.0),
        inputs=lambda row, key: {"x": row["x"], "z": jax.random.normal(key, (CODES,))},
        discriminator_terms=(gan_jax.Term(0.3, gan_jax.penalties.r2()),),
    )


def train(steps: int = 2000, seed: int = 0) -> dict[str, np.ndarray]:
    """Trains for `steps` steps; returns 297 held-out digits x, G(E(x)) and samples G(z), `[297, 8, 8, 1]` each."""
    gan, rng = make_gan(), np.random.default_rng(seed)
    data = digits().read(rng.permutation(1797))["image"].reshape(-1, 64) / np.float32(127.5) - 1
    images = dict.fromkeys(("encoded", "decoded"), np.zeros((FUSED, BATCH, 64 + CODES), np.float32))
    batch = {"image": {name: x[0] for name, x in images.items()}, "x": data[:BATCH]}
    state = gan_jax.init(gan, jax.random.key(seed), batch)
    step = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), FUSED))
    for _ in range(0, steps, FUSED):
        state, _ = step(state, {"image": images, "x": data[rng.integers(1500, size=(FUSED, BATCH))]})
    z = jax.random.normal(jax.random.key(seed + 1), (297, CODES))
    pairs, again = gan.generator.apply(state.ema, {"x": data[1500:], "z": z})
    found = zip(("real", "again", "samples"), (data[1500:], again, pairs["decoded"][:, :64]))
    return {name: np.asarray(x).reshape(-1, 8, 8, 1) for name, x in found}


if __name__ == "__main__":
    found = train(*map(int, sys.argv[1:]))
    error = [np.abs(x - found["real"]).mean() for x in (found["again"], np.median(found["real"], axis=0))]
    print(f"L1 to held-out digits: of G(E(x)) {error[0]:.3f}, of the median digit {error[1]:.3f}")
    save_png("bigan.png", grid(np.concatenate([images[:10] for images in found.values()]), columns=10))
