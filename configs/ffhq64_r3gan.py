"""FFHQ's faces at 64 x 64 pixels with R3GAN.

Source    Huang et al., "The GAN is dead; long live the GAN! A modern baseline GAN", 2024, configuration E,
          with the settings of the authors' code for FFHQ-64. Where we differ: the generator's image, and with
          it R2's gradient, is float32 (theirs bfloat16).
Data      a folder ffhq64 with the 70,000 aligned faces, mirrored; best at 64 x 64 already, as larger ones are
          made smaller (Lanczos) whenever they are read. How they were made smaller moves FID.
Command   gan-jax train configs/ffhq64_r3gan.py data.source.path=ffhq64
          gan-jax evaluate runs/ffhq64_r3gan --features inception --count 50000
          The batch was spread over 8 GPUs; on one that lacks the memory, add microbatches=8.
Expected  no score is claimed: we have read none at its source. Traced and counted here (22,429,824 and 22,381,440
          parameters); not trained.
Cost      the authors give none that we have read. The 20 million images here are the length of the schedules;
          theirs go on until they are stopped, and so may this run: say a larger number of steps.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample, Term

_NETWORK = {
    "widths": (768, 768, 768, 768, 384),
    "cardinality": (96, 96, 96, 96, 48),
    "full_precision_up_to": 4,
}
_IMAGES = 20e6  # of all schedules; then they stay at their ends


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
        share_latents=False,  # latents and real images of its own for the generator
        precision="bfloat16",
        tf32=False,
        log=Log(every=100),
        sample=Sample(every=2000),
        checkpoint=Checkpoint(every=2000),
    )
