"""Handwritten digits from nothing: the demo.

Source   DCGAN (Radford et al., 2015) on the 1,797 digits of 8 x 8 pixels that scikit-learn ships, at 16 pixels.
Command  gan-jax train configs/digits.py
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample


def get_config() -> Config:
    return Config(
        name="digits",
        steps=2000,
        batch=64,
        data=Data(source=Call("digits", size=16)),
        generator=Call("dcgan", width=32),
        discriminator=Call("dcgan", width=32),
        latent=Call("normal", size=64),
        generator_optimizer=Call("adam", learning_rate=4e-4, b1=0.5),
        discriminator_optimizer=Call("adam", learning_rate=4e-4, b1=0.5),
        ema=Ema(half_life=5_000.0),
        log=Log(every=50),
        sample=Sample(every=200),
        checkpoint=Checkpoint(every=500),
    )
