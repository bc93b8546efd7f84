"""Trains StudioGAN's DCGAN on CIFAR-10 (32 x 32 pixels), which collapses there.

Source    Kang et al., "StudioGAN: a taxonomy and benchmark of GANs for image synthesis", 2023: the layers and
          settings behind "DCGAN" in its benchmark, Adam's eps of 1e-6 included. They are not those of the DCGAN
          paper (`cifar10_dcgan`): two updates of the discriminator per step, batch norm in all of it, orthogonal
          first weights. No labels.
Data      TFDS's cifar10 as array_record, with mirror images; to create the files: gan-jax prepare cifar10
Command   gan-jax train cifar10_dcgan_studiogan
          gan-jax evaluate runs/cifar10_dcgan_studiogan --features inception --count 50000
Expected  FID 48.29 in StudioGAN's benchmark: 50,000 samples, TensorFlow's Inception, against the 50,000 training
          images. Its log of 2020, against the 10,000 test images, has its best, 49.03, at step 42,000 and then
          collapses to 137 at 200,000: a case of a collapse, not a baseline. Here the step was traced and the
          parameters were counted (generator 3,812,355, discriminator 2,931,009); the recipe was not trained.
Cost      not known: it was not measured here, and we have read no log with a time.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample

_ADAM = Call("adam", learning_rate=2e-4, b1=0.5, b2=0.999, eps=1e-6)


def get_config() -> Config:
    return Config(
        name="cifar10_dcgan_studiogan",
        steps=200_000,
        batch=64,
        data=Data(source=Call("tfds", name="cifar10", mirror=True)),
        generator=Call("dcgan_studiogan"),
        discriminator=Call("dcgan_studiogan"),
        latent=Call("normal", size=128),
        loss=Call("non_saturating"),
        generator_optimizer=_ADAM,
        discriminator_optimizer=_ADAM,
        disc_steps=2,
        # As in StudioGAN, the generator's update draws its own latents. Nothing is read of the third batch.
        share_latents=False,
        # StudioGAN uses no EMA for DCGAN. With a half-life of one image the EMA is the generator itself.
        ema=Ema(half_life=1.0, ramp_up=None),
        log=Log(every=100),
        sample=Sample(every=2000, count=100),
        checkpoint=Checkpoint(every=2000),
    )
