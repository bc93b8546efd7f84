"""CIFAR-10 by class with SNGAN: spectral norm in the discriminator, projection, conditional batch norm.

Source    Miyato et al., "Spectral normalization for generative adversarial networks", 2018; Miyato and Koyama,
          "cGANs with projection discriminator", 2018. The settings are StudioGAN's, Adam's eps of 1e-6 among them.
          Where we differ: one power iteration in a turn of the discriminator, not one in each of its passes; and
          a generated image has the label of a real one, not a label drawn evenly.
Data      TFDS's cifar10 as array_record, mirrored; where you have none: gan-jax prepare cifar10
Command   gan-jax train configs/cifar10_sngan.py
          gan-jax evaluate runs/cifar10_sngan --features inception --count 50000
Expected  FID 9.01 in StudioGAN's benchmark: 50,000 samples, TensorFlow's Inception, against the 50,000 training
          images; its table of 2020-21 gives 13.25 for this model against the 10,000 test images. Traced and
          counted here (4,304,387 and 1,055,105 parameters); not trained.
Cost      9.4 hours for 100,000 steps by StudioGAN's log, evaluations among them; it names neither the GPU nor how
          many there were.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample

_ADAM = Call("adam", learning_rate=2e-4, b1=0.5, b2=0.999, eps=1e-6)


def get_config() -> Config:
    return Config(
        name="cifar10_sngan",
        steps=100_000,
        batch=64,
        data=Data(source=Call("tfds", name="cifar10", mirror=True)),
        conditional=True,
        generator=Call("sngan"),
        discriminator=Call("sngan"),
        latent=Call("normal", size=128),
        loss=Call("hinge"),
        generator_optimizer=_ADAM,
        discriminator_optimizer=_ADAM,
        disc_steps=5,
        # Latents of its own for the generator, as there; of the sixth batch only the labels are used.
        share_latents=False,
        # No average, as there: one of so short a memory is the generator itself.
        ema=Ema(half_life=1.0, ramp_up=None),
        log=Log(every=100),
        sample=Sample(every=2000, count=100),
        checkpoint=Checkpoint(every=2000),
    )
