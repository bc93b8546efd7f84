"""Fashion-MNIST at its own 28 x 28 pixels with a small ResNet under spectral normalisation.

Source    Miyato et al., "Spectral normalization for generative adversarial networks", 2018: residual blocks, hinge
          loss, a normalised discriminator. Widths and batch are ours, for minutes on a CPU, and so are one turn of
          the discriminator a step in place of five and its doubled rate (Heusel et al., 2017).
Data      TFDS's fashion_mnist as array_record; where you have none: gan-jax prepare fashion_mnist
Command   gan-jax train configs/fashion_mnist_sngan.py
Expected  benchmarks/results/quality.md, after eight minutes on one thread. No other score is claimed.
Cost      see there.
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
