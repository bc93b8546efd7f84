"""CIFAR-10 by class with R3GAN.

Source    Huang et al., "The GAN is dead; long live the GAN! A modern baseline GAN", 2024, configuration E,
          with the settings of the authors' code for CIFAR-10. Where we differ: the generator's image, and with
          it R2's gradient, is float32 (theirs bfloat16).
Data      TFDS's cifar10 as array_record, mirrored; where you have none: gan-jax prepare cifar10
Command   gan-jax train configs/cifar10_r3gan.py
          gan-jax evaluate runs/cifar10_r3gan --features inception --count 50000
          The batch was spread over 8 GPUs; on one that lacks the memory, add microbatches=8.
Expected  FID 1.96, as listings of the paper's results give it, marked unverified there; we have read no protocol
          with it. Traced and counted here (20,781,952 and 21,280,512 parameters); not trained.
Cost      768 GPU-hours: 4 days on 8 L40 for 250 million images, by the paper's supplement as an issue of the
          authors' repository quotes it.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample, Term

_NETWORK = {"widths": (768, 768, 768, 768), "cardinality": 96, "full_precision_up_to": 4}
_IMAGES = 20e6  # of all schedules; then they stay at their ends


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
        share_latents=False,  # latents and real images of its own for the generator
        precision="bfloat16",
        tf32=False,
        log=Log(every=100),
        sample=Sample(every=2000, count=100),
        checkpoint=Checkpoint(every=2000),
    )
