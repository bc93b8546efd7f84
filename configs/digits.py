"""Trains a class-conditional DCGAN on handwritten digits (16 x 16 pixels, no download).

Source    Radford et al., "DCGAN", 2015, with labels by projection (Miyato and Koyama, 2018). The discriminator
          has R1 (Mescheder et al., 2018) instead of batch norm: with so few images per class, batch norm there
          makes the generator collapse to one image per class. The data are the 1,797 digits of 8 x 8 pixels that
          scikit-learn ships, resized to 16 x 16; they come with this package.
Command   gan-jax train digits
Expected  a sample grid with one digit per column that a person can read. No score is claimed.
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
