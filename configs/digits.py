"""Handwritten digits from nothing: the demo, a conditional DCGAN.

Source    Radford et al., "DCGAN", 2015, with labels by projection (Miyato and Koyama, 2018), and R1 in place of
          the discriminator's batch norm (Mescheder et al., 2018): with so few images a class, batch norm there
          ends in one image a class. The 1,797 digits of 8 x 8 pixels that scikit-learn ships (they come with
          this package), at 16 pixels.
Command   gan-jax train configs/digits.py
Expected  a grid with one digit a column that a person can read. No score is claimed.
Cost      under a minute on 2 CPU cores.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample, Term


def get_config() -> Config:
    return Config(
        name="digits",
        steps=3000,
        batch=64,
        data=Data(source=Call("digits", size=16)),
        conditional=True,
        generator=Call("dcgan", width=32),
        discriminator=Call("dcgan", width=32, norm="none"),
        latent=Call("normal", size=64),
        discriminator_terms=(Term(5.0, Call("r1")),),
        generator_optimizer=Call("adam", learning_rate=4e-4, b1=0.5),
        discriminator_optimizer=Call("adam", learning_rate=4e-4, b1=0.5),
        ema=Ema(half_life=10_000.0),
        log=Log(every=100),
        sample=Sample(every=200, count=100),
        checkpoint=Checkpoint(every=1000),
    )
