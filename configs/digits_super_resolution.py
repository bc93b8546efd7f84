"""Trains super-resolution of handwritten digits: 8 x 8 pixels from 4 x 4 (no download). A run with pairs.

Source    Ledig et al., "SRGAN", 2017: a loss on pairs, and an adversarial loss beside it, which starts late here.
          The generator gets each real image at half its resolution (`inputs`). Networks and weights are ours.
Command   gan-jax train digits_super_resolution
Expected  samples/step_00003000.png shows the digits of samples/reals.png, in the same order. No score is claimed.
Cost      under a minute on 2 CPU cores.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample, Term


def get_config() -> Config:
    return Config(
        name="digits_super_resolution",
        steps=3000,
        batch=64,
        data=Data(source=Call("digits")),
        inputs=Call("downsampled", factor=2),
        generator=Call("mlp", width=256),
        discriminator=Call("mlp", width=256),
        generator_terms=(Term(10.0, Call("reconstruction", norm="l2")),),
        generator_weight=Call("after", images=64_000, value=0.05),
        discriminator_weight=Call("after", images=48_000),
        discriminator_terms=(Term(0.5, Call("r1")),),
        generator_optimizer=Call("adam", learning_rate=1e-3, b1=0.5),
        discriminator_optimizer=Call("adam", learning_rate=1e-3, b1=0.5),
        ema=Ema(half_life=10_000.0),
        log=Log(every=100),
        sample=Sample(every=500, count=64),
        checkpoint=Checkpoint(every=1000),
    )
