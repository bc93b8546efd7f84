"""CIFAR-10 by class with BigGAN: self-attention, shared class vectors, latents in chunks.

Source    Brock et al., "Large scale GAN training for high fidelity natural image synthesis", 2019. The settings
          are StudioGAN's for CIFAR-10, Adam's eps of 1e-6 among them. Where we differ: one power iteration in
          a player's own turn, not one in each of its passes; and a generated image has the label of a real
          one, not a label drawn evenly.
Data      TFDS's cifar10 as array_record, mirrored; where you have none: gan-jax prepare cifar10
Command   gan-jax train configs/cifar10_biggan.py
          gan-jax evaluate runs/cifar10_biggan --features inception --count 50000 --standing 256
Expected  FID 4.16 in StudioGAN's benchmark: 50,000 samples, batch norm's standing statistics (`--standing`; how
          many batches, it doesn't say), TensorFlow's Inception, against the 50,000 training images; its table of
          2020-21 gives 8.03 against the 10,000 test images. Traced and counted here (9,416,196 and 2,415,170
          parameters); not trained.
Cost      12.8 hours for 100,000 steps by StudioGAN's log, evaluations among them; it names neither the GPU nor how
          many there were.
"""

import math

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample

_BATCH = 64
_ADAM = Call("adam", learning_rate=2e-4, b1=0.5, b2=0.999, eps=1e-6)
_HALF_LIFE = _BATCH * math.log(0.5) / math.log(0.9999)  # 443,592 images: a decay of 0.9999 a step


def get_config() -> Config:
    return Config(
        name="cifar10_biggan",
        steps=100_000,
        batch=_BATCH,
        data=Data(source=Call("tfds", name="cifar10", mirror=True)),
        conditional=True,
        generator=Call("biggan"),
        discriminator=Call("biggan"),
        latent=Call("normal", size=80),
        loss=Call("hinge"),
        generator_optimizer=_ADAM,
        discriminator_optimizer=_ADAM,
        disc_steps=5,
        # Latents of its own for the generator, as there; of the sixth batch only the labels are used.
        share_latents=False,
        # The generator itself until step 1000, then at once the whole half-life: a ramp one step wide.
        ema=Ema(
            half_life=Call("linear", start=0.0, end=_HALF_LIFE, images=_BATCH, delay=999 * _BATCH), ramp_up=None
        ),
        log=Log(every=100),
        sample=Sample(every=2000, count=100),
        checkpoint=Checkpoint(every=2000),
    )
