"""Trains a class-conditional R3GAN on ImageNet (64 x 64 pixels).

Source    Huang et al., "The GAN is dead; long live the GAN! A modern baseline GAN", 2024, configuration E, with
          the settings of the authors' code for ImageNet-64. Difference: the generator's image, and with it R2's
          gradient, is float32 here and bfloat16 there.
Data      TFDS's imagenet_resized/64x64 as array_record, with mirror images; to create the files:
          gan-jax prepare imagenet_resized/64x64. We don't know whether the authors resized their images in the
          same way; the resizing changes FID.
Command   gan-jax train imagenet64_r3gan
          gan-jax evaluate runs/imagenet64_r3gan --features inception --count 50000
          The authors spread the batch over 64 GPUs. On n GPUs of that size, add microbatches=64/n.
Expected  no score is claimed: we have read none in a primary source. Here the step was traced and the parameters
          were counted (generator 103,570,432, discriminator 107,205,120); the recipe was not trained.
Cost      we have read none by the authors. The 200 million images here are the length of the schedules; the
          authors' run goes on until it is stopped. To do the same, set a larger number of steps.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample, Term

_NETWORK = {"widths": (1536, 1536, 1536, 1536, 1536), "cardinality": 96, "full_precision_up_to": 4}
_IMAGES = 200e6  # the length of every schedule, which then keeps its end value


def _from(start: float, end: float) -> Call:
    return Call("cosine", start=start, end=end, images=_IMAGES)


_ADAM = Call("adam", learning_rate=_from(2e-4, 5e-5), b1=0.0, b2=_from(0.9, 0.99), eps=1e-8)


def get_config() -> Config:
    return Config(
        name="imagenet64_r3gan",
        steps=48_829,  # 200 million images
        batch=4096,
        data=Data(source=Call("tfds", name="imagenet_resized/64x64", mirror=True)),
        conditional=True,
        generator=Call("r3gan", embedding=64, **_NETWORK),
        discriminator=Call("r3gan", **_NETWORK),
        latent=Call("normal", size=64),
        loss=Call("relativistic"),
        # The paper's gamma / 2 (E |grad|^2 on reals + on samples): the half is in the penalty.
        discriminator_terms=(Term(_from(1.0, 0.1), Call("r1_r2")),),
        generator_optimizer=_ADAM,
        discriminator_optimizer=_ADAM,
        augment=Call("ada", policy="r3gan", target=None, p=_from(0.0, 0.4)),
        ema=Ema(half_life=_from(0.0, 5e7), ramp_up=None),
        share_latents=False,  # the generator's update gets latents and real images of its own
        precision="bfloat16",
        tf32=False,
        log=Log(every=50),
        sample=Sample(every=500, count=100),
        checkpoint=Checkpoint(every=500),
    )
