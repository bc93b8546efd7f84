"""Video: a DCGAN with three-dimensional convolutions makes clips of two digits that bounce.

The clips follow Moving MNIST (Srivastava et al., "Unsupervised learning of video representations using LSTMs",
2015), with the digits of 8 x 8 pixels that come with this package. The generator is the one-stream generator of
Vondrick et al., "Generating videos with scene dynamics", 2016: the layers of DCGAN over time, height and width.
One discriminator sees the clip, another one three of its frames, in the spirit of MoCoGAN (Tulyakov et al., 2018).
R1 on every fourth step, widths and rates are our own.

    python examples/moving_digits.py        # 4500 steps, 14 minutes of CPU time; writes moving_digits.gif

At its end strokes move, bounce and keep their shape. A few read as digits (0, 1, 8), most do not yet.
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax import losses, networks
from gan_jax.data.moving_digits import moving_digits
from gan_jax.models import dcgan
from gan_jax.report import clips

BATCH, FUSED, SHAPE = 32, 10, (16, 24, 24, 1)  # frames, height, width, channels


def three_frames(clip: jax.Array) -> jax.Array:
    """Turns frames 1, 6 and 11 of clips `[B, T, H, W, 1]` into the channels of images `[B, H, W, 3]`."""
    return jnp.moveaxis(clip[:, 1::5, ..., 0], 1, -1)


def make_gan() -> gan_jax.GAN:
    members = {
        "clip": dcgan.Discriminator(width=16, norm="none"),
        "frames": networks.after(three_frames, dcgan.Discriminator(width=32, norm="none")),
    }
    return gan_jax.GAN(
        generator=dcgan.Generator(SHAPE, width=32),
        discriminator=networks.ensemble(members),
        loss=losses.over_members(losses.non_saturating()),
        generator_tx=gan_jax.optimizers.adam(4e-4),
        discriminator_tx=gan_jax.optimizers.adam(4e-4),
        latent=gan_jax.latents.normal(64),
        discriminator_terms=(gan_jax.Term(2.0, gan_jax.penalties.r1(), every=4),),
        ema=gan_jax.schedules.half_life(10_000.0, ramp_up=0.05),
    )


def train(steps: int = 4500, seed: int = 0) -> np.ndarray:
    """Trains for `steps` steps and returns 16 clips `[16, *SHAPE]`."""
    gan, source = make_gan(), moving_digits(frames=SHAPE[0], size=SHAPE[1])
    state = gan_jax.init(gan, jax.random.key(seed), source.read(np.arange(BATCH)))
    step = gan_jax.jit_step(gan_jax.fuse_steps(gan_jax.make_train_step(gan), FUSED))
    rng = np.random.default_rng(seed)
    for done in range(FUSED, steps + 1, FUSED):
        real = source.read(rng.integers(len(source), size=FUSED * BATCH))["image"]
        state, metrics = step(state, {"image": real.reshape(FUSED, BATCH, *SHAPE)})
        if done % 200 == 0:
            print(f"step {done}   loss of D {np.mean(metrics['loss/discriminator']):.2f}")
    latents = jax.vmap(gan.latent)(jax.random.split(jax.random.key(seed + 1), 16))
    return np.asarray(gan_jax.make_sampler(gan)(state.ema, latents))


if __name__ == "__main__":
    samples = train(*map(int, sys.argv[1:]))
    pathlib.Path("moving_digits.gif").write_bytes(clips(samples, rate=10))
