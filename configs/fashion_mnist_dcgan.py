"""Trains a DCGAN on Fashion-MNIST (28 x 28 pixels).

Source    DCGAN (Radford et al., 2015), with the settings of PyTorch's example.
Data      TFDS's fashion_mnist as array_record; to create the files: gan-jax prepare fashion_mnist
Command   gan-jax train fashion_mnist_dcgan
Expected  outlines of garments after 600 steps, the last step that was run for this page. No score is claimed.
Cost      950 images a second on 2 CPU cores: 11 minutes for 10,000 steps.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Log, Sample


def get_config() -> Config:
    return Config(
        name="fashion_mnist_dcgan",
        steps=10_000,
        batch=64,
        data=Data(source=Call("tfds", name="fashion_mnist")),
        generator=Call("dcgan", width=64),
        discriminator=Call("dcgan", width=64),
        latent=Call("normal", size=100),
        generator_optimizer=Call("adam", learning_rate=2e-4, b1=0.5),
        discriminator_optimizer=Call("adam", learning_rate=2e-4, b1=0.5),
        log=Log(every=50),
        sample=Sample(every=500),
        checkpoint=Checkpoint(every=500),
    )
