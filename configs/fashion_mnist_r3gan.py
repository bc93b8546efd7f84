"""Fashion-MNIST at its own 28 x 28 pixels with a small R3GAN.

Source    Huang et al., "The GAN is dead; long live the GAN!", 2024: relativistic pairs with R1 and R2, grouped
          residual blocks without normalisation, penalty and rates falling along cosines. Widths, one block a
          resolution, batch, rates and the weight of the penalty are ours, for minutes on a CPU; so is the penalty
          on every fourth step (the paper's is on all), and latents and reals are shared between the turns.
Data      TFDS's fashion_mnist as array_record; where you have none: gan-jax prepare fashion_mnist
Command   gan-jax train configs/fashion_mnist_r3gan.py
Expected  benchmarks/results/quality.md, after eight minutes on one thread: 36,000 images, a third of what the
          others see in that time, and not yet as good as they. No other score is claimed.
Cost      see there.
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
