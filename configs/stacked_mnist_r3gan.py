"""Trains an R3GAN on stacked MNIST (32 x 32 pixels): 1,000 modes that can be counted.

Source    The data and the count follow Metz et al., "Unrolled GAN", 2017, and Srivastava et al., "VEEGAN", 2017:
          three digits in three channels; 128,000 images as in Lin et al., "PacGAN", 2018. The GAN and the
          structure of the networks follow Huang et al., "The GAN is dead; long live the GAN!", 2024, but not its
          settings for this data set, which we have not read: widths, gamma, learning rates and batch are our
          own, chosen before any run.
Data      TFDS's mnist as array_record, resized to 32 x 32 pixels; to create the files: gan-jax prepare mnist
Command   gan-jax train stacked_mnist_r3gan
          gan-jax evaluate runs/stacked_mnist_r3gan --metrics modes --count 26000
Expected  no count is claimed: here the step was traced, and the recipe was not trained. Papers count the classes
          that a classifier of their own finds among 26,000 samples (25,600 in some papers), and the divergence of
          the class shares from equal shares. Here the classifier is the one that `features` trains, and the
          divergence is from the class shares of the data.
Cost      not measured.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Metrics, Sample, Term

_NETWORK = {"widths": (192, 192, 192, 96), "cardinality": (24, 24, 24, 12)}
_IMAGES = 5e6  # the length of every schedule, which then keeps its end value


def _from(start: float, end: float) -> Call:
    return Call("cosine", start=start, end=end, images=_IMAGES)


_ADAM = Call("adam", learning_rate=_from(2e-4, 5e-5), b1=0.0, b2=_from(0.9, 0.99))


def get_config() -> Config:
    return Config(
        name="stacked_mnist_r3gan",
        steps=40_000,  # 10 million images
        batch=256,
        data=Data(source=Call("stacked", source=Call("tfds", name="mnist", size=32), count=128_000)),
        generator=Call("r3gan", **_NETWORK),
        discriminator=Call("r3gan", **_NETWORK),
        latent=Call("normal", size=64),
        loss=Call("relativistic"),
        discriminator_terms=(Term(_from(1.0, 0.1), Call("r1_r2")),),
        generator_optimizer=_ADAM,
        discriminator_optimizer=_ADAM,
        ema=Ema(half_life=_from(0.0, 5e5), ramp_up=None),
        share_latents=False,
        log=Log(every=100),
        sample=Sample(every=2000),
        metrics=Metrics(every=2000, names=("modes",), features=Call("classifier"), count=26_000),
        checkpoint=Checkpoint(every=2000, best="modes_kl"),
    )
