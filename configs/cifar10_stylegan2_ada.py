"""Trains a class-conditional StyleGAN2 with adaptive augmentation (ADA) on CIFAR-10.

Source    Karras et al., "Training generative adversarial networks with limited data", 2020: the authors' "cifar"
          configuration. Both players' Adam is corrected for lazy penalties, the generator's too, although the
          generator has no penalty. Differences: R1 is part of every 16th update of the discriminator, not an
          Adam update of its own, and it sees the augmented images of the loss, not a second augmentation; a
          gradient that is not finite stops the run here and is replaced by a number there; above 4 x 4 pixels we
          use bfloat16 instead of float16; a generated image takes the label of a real image, not a newly drawn
          label.
Data      TFDS's cifar10 as array_record, without mirror images; to create the files: gan-jax prepare cifar10
Command   gan-jax train cifar10_stylegan2_ada
          gan-jax evaluate runs/cifar10_stylegan2_ada --features inception --count 50000
Expected  FID 2.42 in the paper, as StudioGAN's README quotes it. StudioGAN's benchmark of its own code gives
          2.31 after 1,000,000 steps of batch 64, and 3.78 without augmentation after 200,000 steps: 50,000
          samples, TensorFlow's Inception, against the 50,000 training images. Here the step was traced and the
          parameters were counted (generator 20,215,315, discriminator 23,089,664); the recipe was not trained.
Cost      370 hours for 100 million images at 13.3 s per 1,000 images. That speed is from StudioGAN's log
          (1,000,000 steps in 9 days and 20 hours, evaluations included), which names neither the GPU model nor
          the number.
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
        discriminator=Call("stylegan2", architecture="orig", group=32, minibatch_groups="strided"),
        latent=Call("normal", size=512),
        loss=Call("non_saturating"),
        discriminator_terms=(Term(0.01, Call("r1"), every=16),),
        # 0.0025 on paper; 0.002 and 0.002353 in effect.
        generator_optimizer=Call("lazy_adam", learning_rate=0.0025, b1=0.0, b2=0.99, k=4),
        discriminator_optimizer=Call("lazy_adam", learning_rate=0.0025, b1=0.0, b2=0.99, k=16),
        augment=Call("ada", policy="bgc", target=0.6, every=4, speed_kimg=500.0),
        ema=Ema(half_life=500_000.0, ramp_up=0.05),
        # As there, the generator's update draws its own latents. Of the second batch it reads only labels.
        share_latents=False,
        precision="bfloat16",
        tf32=False,
        log=Log(every=100),
        sample=Sample(every=5000, count=100),
        checkpoint=Checkpoint(every=5000),
    )
