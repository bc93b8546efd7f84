"""CIFAR-10 by class with StyleGAN2 and adaptive augmentation (ADA).

Source    Karras et al., "Training generative adversarial networks with limited data", 2020: the authors' "cifar".
          Both players' Adam is corrected for lazy penalties, the generator's too, though it has none. Where we
          differ: R1 is part of every 16th step of the discriminator, not an Adam step of its own, and sees the
          loss's own draw of the augmentation, not another; gradients that are not finite stop the run, where
          theirs are replaced by numbers; bfloat16 for float16 above 4 x 4 pixels; a generated image has the label
          of a real one, not a label drawn anew.
Data      TFDS's cifar10 as array_record, not mirrored; where you have none: gan-jax prepare cifar10
Command   gan-jax train configs/cifar10_stylegan2_ada.py
          gan-jax evaluate runs/cifar10_stylegan2_ada --features inception --count 50000
Expected  FID 2.42 in the paper, as StudioGAN's README quotes it. By StudioGAN's own code, in its benchmark: 2.31
          after 1,000,000 steps of batch 64, and 3.78 without augmentation after 200,000; 50,000 samples,
          TensorFlow's Inception, against the 50,000 training images. Traced and counted here (20,215,315 and
          23,089,664 parameters); not trained.
Cost      370 hours for the 100 million images at the 13.3 s a thousand of StudioGAN's log (1,000,000 steps in
          9 days and 20 hours, evaluations among them), which names neither the GPU nor how many.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample, Term


def get_config() -> Config:
    return Config(
        name="cifar10_stylegan2_ada",
        steps=1_562_500,  # 100 million images
        batch=64,
        data=Data(source=Call("tfds", name="cifar10")),
        conditional=True,
        generator=Call("stylegan2", mapping_layers=2, style_mixing=0.0),
        discriminator=Call("stylegan2", architecture="orig", group=32),
        latent=Call("normal", size=512),
        loss=Call("non_saturating"),
        discriminator_terms=(Term(0.01, Call("r1"), every=16),),
        # 0.0025 on paper; 0.002 and 0.002353 in effect.
        generator_optimizer=Call("lazy_adam", learning_rate=0.0025, b1=0.0, b2=0.99, k=4),
        discriminator_optimizer=Call("lazy_adam", learning_rate=0.0025, b1=0.0, b2=0.99, k=16),
        augment=Call("ada", policy="bgc", target=0.6, every=4, speed_kimg=500.0),
        ema=Ema(half_life=500_000.0, ramp_up=0.05),
        # Latents of its own for the generator, as there; of the second batch only the labels are used.
        share_latents=False,
        precision="bfloat16",
        tf32=False,
        log=Log(every=100),
        sample=Sample(every=5000, count=100),
        checkpoint=Checkpoint(every=5000),
    )
