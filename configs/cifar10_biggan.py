"""Trains a class-conditional BigGAN on CIFAR-10 (32 x 32 pixels).

Source    Brock et al., "Large scale GAN training for high fidelity natural image synthesis", 2019:
          self-attention, class embeddings shared by all layers, latents split into chunks. The settings, Adam's
          eps of 1e-6 included, are StudioGAN's for CIFAR-10. As in PyTorch, spectral norm keeps v and the running
          variance is unbiased. Differences from StudioGAN: spectral norm takes one power iteration per update of
          a player, not one per forward pass; a generated image takes the label of a real image, not a label
          drawn uniformly.
Data      TFDS's cifar10 as array_record, with mirror images; to create the files: gan-jax prepare cifar10
Command   gan-jax train cifar10_biggan
          gan-jax evaluate runs/cifar10_biggan --features inception --count 50000 --standing 256
Expected  FID 4.16 in StudioGAN's benchmark: 50,000 samples, batch norm's standing statistics (`--standing`;
          StudioGAN does not say over how many batches), TensorFlow's Inception, against the 50,000 training
          images. StudioGAN's table of 2020-21 gives 8.03 against the 10,000 test images. Here the step was
          traced and the parameters were counted (generator 9,416,196, discriminator 2,415,170); the recipe was
          not trained.
Cost      12.8 hours for 100,000 steps, evaluations included, by StudioGAN's log, which names neither the GPU
          model nor the number of GPUs.
"""

import math

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample

_BATCH = 64
_ADAM = Call("adam", learning_rate=2e-4, b1=0.5, b2=0.999, eps=1e-6)
_HALF_LIFE = _BATCH * math.log(0.5) / math.log(0.9999)  # 443,592 images: a decay of 0.9999 per step


def get_config() -> Config:
    return Config(
        name="cifar10_biggan",
        steps=100_000,
        batch=_BATCH,
        data=Data(source=Call("tfds", name="cifar10", mirror=True)),
        conditional=True,
        generator=Call("biggan", spectral_vectors="uv", running_variance="unbiased"),
        discriminator=Call("biggan", spectral_vectors="uv"),
        latent=Call("normal", size=80),
        loss=Call("hinge"),
        generator_optimizer=_ADAM,
        discriminator_optimizer=_ADAM,
        disc_steps=5,
        # As in StudioGAN, the generator's update draws its own latents. Of the sixth batch it reads only labels.
        share_latents=False,
        # Until step 1000 the EMA is the generator itself; then the half-life jumps to its full value.
        ema=Ema(
            half_life=Call("linear", start=0.0, end=_HALF_LIFE, images=_BATCH, delay=999 * _BATCH), ramp_up=None
        ),
        log=Log(every=100),
        sample=Sample(every=2000, count=100),
        checkpoint=Checkpoint(every=2000),
    )
