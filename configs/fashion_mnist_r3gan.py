"""Trains a small R3GAN on Fashion-MNIST (28 x 28 pixels).

Source    Huang et al., "The GAN is dead; long live the GAN!", 2024: the relativistic pairing loss with R1 and R2,
          grouped residual blocks without normalisation, penalty weight and learning rates that fall along
          cosines. Our own choices, for minutes on a CPU: the widths, one block per resolution, the batch, the
          rates and the penalty's weight; the penalty is applied on every fourth step (the paper's on every
          step); both players' updates share latents and real images.
Data      TFDS's fashion_mnist as array_record; to create the files: gan-jax prepare fashion_mnist
Command   gan-jax train fashion_mnist_r3gan
Expected  benchmarks/results/quality.md has the scores after eight minutes on one thread. In that time the model
          sees 36,000 images, a third of what the other models see, and is not yet as good as they are. No other
          score is claimed.
Cost      see benchmarks/results/quality.md.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Log, Sample, Term

_RATE = Call(
    "adam",
    learning_rate=Call("cosine", start=5e-4, end=1e-4, images=200_000),
    b1=0.0,
    b2=Call("cosine", start=0.9, end=0.99, images=200_000),
)
_PLAYER = {"widths": (64, 32, 16), "cardinality": (8, 4, 2), "blocks": 1}


def get_config() -> Config:
    return Config(
        name="fashion_mnist_r3gan",
        steps=40_000,
        batch=32,
        data=Data(source=Call("tfds", name="fashion_mnist")),
        generator=Call("r3gan", **_PLAYER),
        discriminator=Call("r3gan", **_PLAYER),
        latent=Call("normal", size=64),
        loss=Call("relativistic"),
        discriminator_terms=(Term(Call("cosine", start=0.5, end=0.05, images=200_000), Call("r1_r2"), every=4),),
        generator_optimizer=_RATE,
        discriminator_optimizer=_RATE,
        log=Log(every=50),
        sample=Sample(every=500),
        checkpoint=Checkpoint(every=500),
    )
