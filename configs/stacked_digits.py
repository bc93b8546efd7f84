"""Stacked digits from nothing: a thousand modes that can be counted, without a download.

Source    The set is made as stacked MNIST (Metz et al., "Unrolled GAN", 2017; Srivastava et al., "VEEGAN", 2017),
          of the 1,797 digits that come with this package, at 16 pixels: three in three channels. DCGAN's networks
          (Radford et al., 2015) without the discriminator's batch norm; loss, penalty and schedules of R3GAN
          (Huang et al., 2024). Widths, gamma and rates are ours.
Data      made as it is read, of digits that come with this package
Command   gan-jax train configs/stacked_digits.py
Expected  no count is claimed: of this it was run here for 500 steps only, before the first count. With 10,000
          samples even a perfect generator has a divergence of 0.05.
Cost      900 to 1,200 images a second on 2 CPU cores that others used too (2,600 with fewer of them): 10 minutes
          at best.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Metrics, Penalty, Sample

_IMAGES = 1.5e6  # of all schedules; then they stay at their ends
_ADAM = Call("adam", learning_rate=Call("cosine", start=1e-3, end=1e-4, images=_IMAGES), b1=0.0, b2=0.99)


def get_config() -> Config:
    return Config(
        name="stacked_digits",
        steps=12_000,
        batch=128,
        data=Data(source=Call("stacked", source=Call("digits", size=16))),
        generator=Call("dcgan", width=32),
        discriminator=Call("dcgan", width=32, norm="none"),
        latent=Call("normal", size=64),
        loss=Call("relativistic"),
        discriminator_penalties=(
            Penalty(Call("r1_r2"), weight=Call("cosine", start=0.5, end=0.05, images=_IMAGES)),
        ),
        generator_optimizer=_ADAM,
        discriminator_optimizer=_ADAM,
        ema=Ema(half_life=20_000.0),
        log=Log(every=100),
        sample=Sample(every=2000),
        metrics=Metrics(every=1000, names=("modes",), features=Call("classifier"), count=10_000),
        checkpoint=Checkpoint(every=1000, best="modes_kl"),
    )
