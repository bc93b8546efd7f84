"""Trains a class-conditional R3GAN on CIFAR-10 (32 x 32 pixels).

Source    Huang et al., "The GAN is dead; long live the GAN! A modern baseline GAN", 2024, configuration E, with
          the settings of the authors' code for CIFAR-10. Difference: the generator's image, and with it R2's
          gradient, is float32 here and bfloat16 there.
Data      TFDS's cifar10 as array_record, with mirror images; to create the files: gan-jax prepare cifar10
Command   gan-jax train cifar10_r3gan
          gan-jax evaluate runs/cifar10_r3gan --features inception --count 50000
          The authors spread the batch over 8 GPUs. On one GPU with too little memory, add microbatches=8.
Expected  FID 1.96 by listings of the paper's results, which mark it as unverified; we have read no protocol for
          it. Here the step was traced and the parameters were counted (generator 20,781,952, discriminator
          21,280,512); the recipe was not trained.
Cost      768 GPU-hours: 4 days on 8 L40 GPUs for 250 million images. The figure is the paper's supplement's, as
          an issue of the authors' repository quotes it.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample, Term

_NETWORK = {"widths": (768, 768, 768, 768), "cardinality": 96, "full_precision_up_to": 4}
_IMAGES = 20e6  # the length of every schedule, which then keeps its end value


def _from(start: float, end: float) -> Call:
    return Call("cosine", start=start, end=end, images=_IMAGES)


_ADAM = Call("adam", learning_rate=_from(2e-4, 5e-5), b1=0.0, b2=_from(0.9, 0.99), eps=1e-8)


def get_config() -> Config:
    return Config(
        name="cifar10_r3gan",
        steps=488_282,  # 250 million images
        batch=512,
        data=Data(source=Call("tfds", name="cifar10", mirror=True)),
        conditional=True,
        generator=Call("r3gan", embedding=64, **_NETWORK),
        discriminator=Call("r3gan", **_NETWORK),
        latent=Call("normal", size=64),
        loss=Call("relativistic"),
        # The paper's gamma / 2 (E |grad|^2 on reals + on samples): the half is in the penalty.
        discriminator_terms=(Term(_from(0.05, 0.005), Call("r1_r2")),),
        generator_optimizer=_ADAM,
        discriminator_optimizer=_ADAM,
        augment=Call("ada", policy="r3gan", target=None, p=_from(0.0, 0.55)),
        ema=Ema(half_life=_from(0.0, 5e6), ramp_up=None),
        share_latents=False,  # the generator's update gets latents and real images of its own
        precision="bfloat16",
        tf32=False,
        log=Log(every=100),
        sample=Sample(every=2000, count=100),
        checkpoint=Checkpoint(every=2000),
    )
