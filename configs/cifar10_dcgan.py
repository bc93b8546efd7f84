"""Trains a DCGAN on CIFAR-10 (32 x 32 pixels).

Source    DCGAN (Radford et al., 2015), with the settings of PyTorch's example.
Data      TFDS's cifar10 as array_record, with mirror images; to create the files: gan-jax prepare cifar10 (needs
          the `prepare` extra)
Command   gan-jax train cifar10_dcgan
Expected  coloured shapes after 600 steps, the last step that was run here. No score is claimed.
Cost      450 images a second on 2 CPU cores: 47 minutes for 20,000 steps.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Log, Sample


def get_config() -> Config:
    return Config(
        name="cifar10_dcgan",
        steps=20_000,
        batch=64,
        data=Data(source=Call("tfds", name="cifar10", mirror=True)),
        generator=Call("dcgan", width=64),
        discriminator=Call("dcgan", width=64),
        latent=Call("normal", size=100),
        generator_optimizer=Call("adam", learning_rate=2e-4, b1=0.5),
        discriminator_optimizer=Call("adam", learning_rate=2e-4, b1=0.5),
        log=Log(every=50),
        sample=Sample(every=1000),
        checkpoint=Checkpoint(every=500),
    )
