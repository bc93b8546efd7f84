"""Video: a generator that draws two shapes and moves them learns clips of two digits that bounce.

The clips follow Moving MNIST (Srivastava et al., 2015), with the 8 x 8 digits that come with this package. As in
MoCoGAN (Tulyakov et al., 2018) what is seen and how it moves have latents of their own. For each digit one network
draws a sprite, another one its path. Linear interpolation puts it there, enlarged (Jaderberg et al., "Spatial
transformer networks", 2015). One discriminator sees the clip, another one three frames. Rates and widths are ours.
At its end most shapes read as digits, and keep their form while they move and bounce.

    python examples/moving_digits.py        # 9000 steps, 12 minutes of CPU time; writes moving_digits.gif
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import gan_jax
from gan_jax import losses, networks
from gan_jax.data.moving_digits import moving_digits
from gan_jax.models import dcgan
from gan_jax.report import clips

BATCH, FUSED, SHAPE = 32, 10, (16, 24, 24, 1)  # SHAPE: frames, height, width, channels
DIGITS, SIDE, LARGE = 2, 8, 10  # sprites in a clip; pixels of a side, as drawn and as shown


class Sprites(nn.Module):
    """Turns latents `[B, 64]` into clips `[B, *SHAPE]`, black where there is no sprite."""

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        look, motion = jnp.split(z.reshape(len(z), DIGITS, -1), [24], axis=2)
        for _ in range(2):
            look = nn.leaky_relu(nn.Dense(256)(look), 0.2)
        sprite = nn.sigmoid(nn.Dense(SIDE * SIDE)(look) - 2).reshape(-1, DIGITS, SIDE, SIDE)  # dark at first
        for _ in range(2):
            motion = nn.leaky_relu(nn.Dense(128)(motion), 0.2)
        moves = nn.Dense(2 * SHAPE[0])(motion).reshape(-1, DIGITS, SHAPE[0], 2)
        path = nn.Dense(2)(motion)[:, :, None] + 0.2 * jnp.cumsum(moves, axis=2)
        corner = (1.1 * jnp.tanh(path) + 1) / 2 * (jnp.array(SHAPE[1:3]) - LARGE - 2)  # [B, digits, T, 2], pixels
        pixels = (jnp.arange(SHAPE[1])[:, None, None] - corner[..., None, None, :]) * SIDE / LARGE  # in a sprite
        rows, columns = jnp.moveaxis(nn.relu(1 - jnp.abs(pixels - jnp.arange(SIDE)[:, None] - 0.5)), -1, 0)
        return 2 * jnp.einsum("bdthi,bdij,bdtwj->bdthw", rows, sprite, columns).max(axis=1)[..., None] - 1


def three_frames(clip: jax.Array) -> jax.Array:
    """Turns frames 1, 6 and 11 of clips `[B, T, H, W, 1]` into the channels of images `[B, H, W, 3]`."""
    return jnp.moveaxis(clip[:, 1::5, ..., 0], 1, -1)


def make_gan() -> gan_jax.GAN:
    frames = networks.after(three_frames, dcgan.Discriminator(width=32, norm="none"))
    return gan_jax.GAN(
        Sprites(), networks.ensemble({"frames": frames, "clip": dcgan.Discriminator(width=16, norm="none")}),
        losses.over_members(losses.non_saturating()), gan_jax.optimizers.adam(4e-4), gan_jax.optimizers.adam(4e-4),
        gan_jax.latents.normal(64), ema=gan_jax.schedules.half_life(10_000.0, ramp_up=0.05),
        discriminator_terms=(gan_jax.Term(2.0, gan_jax.penalties.r1(), every=4),),
    )  # fmt: skip


def train(steps: int = 9000, seed: int = 0) -> np.ndarray:
    """Trains for `steps` steps and returns 16 clips `[16, *SHAPE]`."""
    gan, source = make_gan(), moving_digits(frames=SHAPE[0], size=SHAPE[1])
    state = gan_jax.init(gan, jax.random.key(seed), source.read(np.arange(BATCH)))
    step = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), FUSED))
    rng = np.random.default_rng(seed)
    for done in range(FUSED, steps + 1, FUSED):
        real = source.read(rng.integers(len(source), size=FUSED * BATCH))["image"]
        state, metrics = step(state, {"image": real.reshape(FUSED, BATCH, *SHAPE)})
        if done % 200 == 0:
            print(f"step {done}   loss of D {np.mean(metrics['loss/discriminator']):.2f}", flush=True)
    latents = jax.vmap(gan.latent)(jax.random.split(jax.random.key(seed + 1), 16))
    return np.asarray(gan_jax.make_sampler(gan)(state.ema, latents))


if __name__ == "__main__":
    pathlib.Path("moving_digits.gif").write_bytes(clips(train(*map(int, sys.argv[1:])), rate=10))
