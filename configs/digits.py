"""Handwritten digits from nothing: the demo, a conditional DCGAN.

Source    Radford et al., "DCGAN", 2015, with labels by projection (Miyato and Koyama, 2018), on the 1,797 digits
          of 8 x 8 pixels that scikit-learn ships (they come with this package), at 16 pixels.
Command   gan-jax train configs/digits.py
Expected  a grid with one digit a column that a person can read. No score is claimed.
Cost      about a minute and a half on 2 CPU cores.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample


def get_config() -> Config:
    return Config(
        name="digits",
        steps=4000,
        batch=64,
        data=Data(source=Call("digits", size=16)),
        conditional=True,
        generator=Call("dcgan", width=32),
        discriminator=Call("dcgan", width=32),
        latent=Call("normal", size=64),
        loss=Call("non_saturating", real_label=0.9),
        generator_optimizer=Call("adam", learning_rate=4e-4, b1=0.5),
        discriminator_optimizer=Call("adam", learning_rate=4e-4, b1=0.5),
        ema=Ema(half_life=10_000.0),
        log=Log(every=100),
        sample=Sample(every=200, count=100),
        checkpoint=Checkpoint(every=1000),
    )
