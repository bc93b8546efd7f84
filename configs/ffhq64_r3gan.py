"""Trains an R3GAN on FFHQ faces (64 x 64 pixels).

Source    Huang et al., "The GAN is dead; long live the GAN! A modern baseline GAN", 2024, configuration E, with
          the settings of the authors' code for FFHQ-64. Difference: the generator's image, and with it R2's
          gradient, is float32 here and bfloat16 there.
Data      a folder ffhq64 with the 70,000 aligned faces, with mirror images. Best stored at 64 x 64 pixels:
          larger images are resized (Lanczos) each time they are read. How images are resized changes FID.
Command   gan-jax train ffhq64_r3gan data.source.path=ffhq64
          gan-jax evaluate runs/ffhq64_r3gan --features inception --count 50000
          The authors spread the batch over 8 GPUs. On one GPU with too little memory, add microbatches=8.
Expected  no score is claimed: we have read none in a primary source. Here the step was traced and the parameters
          were counted (generator 22,429,824, discriminator 22,381,440); the recipe was not trained.
Cost      we have read none by the authors. The 20 million images here are the length of the schedules; the
          authors' run goes on until it is stopped. To do the same, set a larger number of steps.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample, Term

_NETWORK = {
    "widths": (768, 768, 768, 768, 384),
    "cardinality": (96, 96, 96, 96, 48),
    "full_precision_up_to": 4,
}
_IMAGES = 20e6  # the length of every schedule, which then keeps its end value


def _from(start: float, end: float) -> Call:
    return Call("cosine", start=start, end=end, images=_IMAGES)


_ADAM = Call("adam", learning_rate=_from(2e-4, 5e-5), b1=0.0, b2=_from(0.9, 0.99), eps=1e-8)


def get_config() -> Config:
    return Config(
        name="ffhq64_r3gan",
        steps=78_125,  # 20 million images
        batch=256,
        data=Data(source=Call("folder", path="ffhq64", labels=False, size=64, mirror=True)),
        generator=Call("r3gan", **_NETWORK),
        discriminator=Call("r3gan", **_NETWORK),
        latent=Call("normal", size=64),
        loss=Call("relativistic"),
        # The paper's gamma / 2 (E |grad|^2 on reals + on samples): the half is in the penalty.
        discriminator_terms=(Term(_from(2.0, 0.2), Call("r1_r2")),),
        generator_optimizer=_ADAM,
        discriminator_optimizer=_ADAM,
        augment=Call("ada", policy="r3gan", target=None, p=_from(0.0, 0.3)),
        ema=Ema(half_life=_from(0.0, 5e5), ramp_up=None),
        share_latents=False,  # the generator's update gets latents and real images of its own
        precision="bfloat16",
        tf32=False,
        log=Log(every=100),
        sample=Sample(every=2000),
        checkpoint=Checkpoint(every=2000),
    )
