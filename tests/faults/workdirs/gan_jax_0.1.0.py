"""The digits with the smallest networks, as a run of the version before."""

from gan_jax.config import Call, Checkpoint, Config, Data, Log, Sample


def get_config():
    return Config(
        name="old",
        steps=4,
        batch=8,
        data=Data(source=Call("digits")),
        generator=Call("mlp", width=4),
        discriminator=Call("mlp", width=4),
        latent=Call("normal", size=4),
        log=Log(every=1, tensorboard=False),
        sample=Sample(every=2, count=4, gif=False),
        checkpoint=Checkpoint(every=2, keep=2),
    )
