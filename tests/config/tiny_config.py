"""A config of a tiny conditional or unconditional GAN, and the shape of its data."""

import dataclasses

from gan_jax.config import Call, Config, Data
from gan_jax.config.build import SampleSpec

SPEC = SampleSpec((8, 8, 1), "uint8", 10)


def tiny(**changes) -> Config:
    small = Config(
        name="tiny", batch=16, data=Data(Call("digits")), latent=Call("normal", size=4),
        generator=Call("dcgan", width=4), discriminator=Call("dcgan", width=4),
    )  # fmt: skip
    return dataclasses.replace(small, **changes)
