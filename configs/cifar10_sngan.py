"""Trains a class-conditional SNGAN on CIFAR-10 (32 x 32 pixels).

Source    Miyato et al., "Spectral normalization for generative adversarial networks", 2018; Miyato and Koyama,
          "cGANs with projection discriminator", 2018: spectral norm and projection in the discriminator,
          conditional batch norm in the generator. The settings, Adam's eps of 1e-6 included, are StudioGAN's.
          As in PyTorch, spectral norm keeps v and the running variance is unbiased. Differences from StudioGAN:
          spectral norm takes one power iteration per update of the discriminator, not one per forward pass; a
          generated image takes the label of a real image, not a label drawn uniformly.
Data      TFDS's cifar10 as array_record, with mirror images; to create the files: gan-jax prepare cifar10
Command   gan-jax train cifar10_sngan
          gan-jax evaluate runs/cifar10_sngan --features inception --count 50000
Expected  FID 9.01 in StudioGAN's benchmark: 50,000 samples, TensorFlow's Inception, against the 50,000 training
          images. StudioGAN's table of 2020-21 gives 13.25 for this model against the 10,000 test images. Here
          the step was traced and the parameters were counted (generator 4,304,387, discriminator 1,055,105); the
          recipe was not trained.
Cost      9.4 hours for 100,000 steps, evaluations included, by StudioGAN's log, which names neither the GPU
          model nor the number of GPUs.
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
        generator=Call("sngan", running_variance="unbiased"),
        discriminator=Call("sngan", spectral_vectors="uv"),
        latent=Call("normal", size=128),
        loss=Call("hinge"),
        generator_optimizer=_ADAM,
        discriminator_optimizer=_ADAM,
        disc_steps=5,
        # As in StudioGAN, the generator's update draws its own latents. Of the sixth batch it reads only labels.
        share_latents=False,
        # StudioGAN uses no EMA for SNGAN. With a half-life of one image the EMA is the generator itself.
        ema=Ema(half_life=1.0, ramp_up=None),
        log=Log(every=100),
        sample=Sample(every=2000, count=100),
        checkpoint=Checkpoint(every=2000),
    )
