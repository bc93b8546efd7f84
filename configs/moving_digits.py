"""Trains a DCGAN with three-dimensional convolutions on clips of two digits that bounce (16 frames, no download).

Source    The clips follow Moving MNIST (Srivastava et al., "Unsupervised learning of video representations using
          LSTMs", 2015), with the 1,797 digits of 8 x 8 pixels that come with this package, in frames of 32 x 32
          pixels. The networks are DCGAN's (Radford et al., 2015) over time, height and width, as in the one-stream
          generator of VGAN (Vondrick et al., "Generating videos with scene dynamics", 2016). The discriminator has
          R1 (Mescheder et al., 2018) instead of batch norm. Widths and rates are our own.
Command   gan-jax train moving_digits
Expected  not trained to its end here. A like generator made strokes that move and bounce after 4,500 steps, few of
          which read as digits. The generator of sprites in examples/moving_digits.py makes digits that a viewer
          can read. No score is claimed.
Cost      not measured to its end: a step takes 0.08 s on 2 quiet CPU cores, which makes 6 minutes.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample, Term


def get_config() -> Config:
    return Config(
        name="moving_digits",
        steps=4000,
        batch=16,
        data=Data(source=Call("moving_digits", frames=16, size=32)),
        generator=Call("dcgan", width=16),
        discriminator=Call("dcgan", width=16, norm="none"),
        latent=Call("normal", size=64),
        discriminator_terms=(Term(5.0, Call("r1")),),
        generator_optimizer=Call("adam", learning_rate=4e-4, b1=0.5),
        discriminator_optimizer=Call("adam", learning_rate=4e-4, b1=0.5),
        ema=Ema(half_life=10_000.0),
        log=Log(every=100),
        sample=Sample(every=500, count=16),
        checkpoint=Checkpoint(every=1000),
    )
