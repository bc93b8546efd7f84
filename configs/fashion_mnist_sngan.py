"""Trains a small SNGAN on Fashion-MNIST (28 x 28 pixels).

Source    Miyato et al., "Spectral normalization for generative adversarial networks", 2018: residual blocks,
          hinge loss, spectral norm in the discriminator. Our own choices, for minutes on a CPU: the widths, the
          batch, and one update of the discriminator per step instead of five, with its learning rate doubled
          (Heusel et al., 2017).
Data      TFDS's fashion_mnist as array_record; to create the files: gan-jax prepare fashion_mnist
Command   gan-jax train fashion_mnist_sngan
Expected  benchmarks/results/quality.md has the scores after eight minutes on one thread. No other score is
          claimed.
Cost      see benchmarks/results/quality.md.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Log, Sample


def get_config() -> Config:
    return Config(
        name="fashion_mnist_sngan",
        steps=40_000,
        batch=32,
        data=Data(source=Call("tfds", name="fashion_mnist")),
        generator=Call("sngan", widths=(32, 32, 16)),
        discriminator=Call("sngan", widths=(16, 32, 32)),
        latent=Call("normal", size=100),
        loss=Call("hinge"),
        generator_optimizer=Call("adam", learning_rate=2e-4, b1=0.0, b2=0.9),
        discriminator_optimizer=Call("adam", learning_rate=4e-4, b1=0.0, b2=0.9),
        log=Log(every=50),
        sample=Sample(every=500),
        checkpoint=Checkpoint(every=500),
    )
