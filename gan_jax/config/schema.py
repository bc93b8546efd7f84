"""The fields of a config: frozen dataclasses of plain values. `gan_jax.config` exports them.

A field that is marked free may change on resume and does not change the result; any other field is part of the
run's identity. The text under a field documents it; `field_docs` reads it.
"""

from dataclasses import dataclass, field
from typing import Literal

from ..terms import Term as Term
from .groups import Checkpoint, Data, Ema, Health, Log, Metrics, Parallel, Sample, setting
from .resolve import Call, Home

HOMES: dict[str, Home] = {
    "data.source": Home("gan_jax.data"),
    "generator": Home("gan_jax.models", "Generator"),
    "discriminator": Home("gan_jax.models", "Discriminator"),
    "latent": Home("gan_jax.latents"),
    "inputs": Home("gan_jax.inputs"),
    "generator_weight": Home("gan_jax.schedules"),
    "discriminator_weight": Home("gan_jax.schedules"),
    "loss": Home("gan_jax.losses"),
    "generator_terms.penalty": Home("gan_jax.penalties"),
    "discriminator_terms.penalty": Home("gan_jax.penalties"),
    "generator_optimizer": Home("gan_jax.optimizers"),
    "discriminator_optimizer": Home("gan_jax.optimizers"),
    "augment": Home("gan_jax.augment"),
    "metrics.features": Home("gan_jax.metrics.features"),
    "schedule": Home("gan_jax.schedules"),  # a penalty's weight; a Call inside another, but for data sets
}
"""Where the short names in each field are looked up, by the path of the field without indices."""


ConfigTerm = Term[float | Call, Call]
"""A term whose penalty is a name in `gan_jax.penalties`, and whose weight may be a name in `gan_jax.schedules`."""


@dataclass(frozen=True)
class Config:
    """A run. The config, its seed and the number of steps determine the result."""

    name: str
    """Name of the run, in reports and as the default folder in `runs/`."""
    seed: int = setting(0, least=0)
    """Seed of every random draw."""
    steps: int = setting(1000, free=True, least=0)
    """Length of the training, in steps; it may grow on resume."""
    batch: int = setting(64, least=1)
    """Real images in a step, over all devices."""
    data: Data = field(default=Data())
    """The real images."""
    generator: Call = field(default=Call("dcgan"))
    """The generator, a name in `gan_jax.models`."""
    discriminator: Call = field(default=Call("dcgan"))
    """The discriminator, a name in `gan_jax.models`."""
    init_from: str = setting("", free=True)
    """Start from another run's weights: its workdir, or one of its checkpoints.

    A workdir means its newest checkpoint; empty: new weights. The digest of the checkpoint is part of the run's
    identity, its path is not.
    """
    init_weights: Literal["ema", "raw"] = "ema"
    """Which weights of the generator `init_from` takes: the moving average, or "raw"."""
    freeze_discriminator: int = setting(0, least=0)
    """Number of the discriminator's first blocks that are not trained (FreezeD).

    They are counted from the image on. For a run with `init_from`. Their parameters stay. The running statistics
    of batch norm and the vectors u of spectral norm in them go on. Mo et al., "Freeze the discriminator", 2020.
    """
    conditional: bool = False
    """Give the labels of the data to both players."""
    latent: Call = field(default=Call("normal", size=100))
    """The distribution of the latents, a name in `gan_jax.latents`."""
    inputs: Call | None = None
    """What the generator is called with in place of latents, a name in `gan_jax.inputs`.

    It is made from each row of the data, such as `downsampled`; none: latents.
    """
    loss: Call = field(default=Call("non_saturating"))
    """The loss, a name in `gan_jax.losses`."""
    generator_weight: float | Call = 1.0
    """Weight of the generator's adversarial loss; a Call: a schedule over the images seen.

    While it is 0 the generator learns from its terms alone.
    """
    discriminator_weight: float | Call = 1.0
    """Weight of the discriminator's loss; a Call: a schedule over the images seen.

    While it is 0 the discriminator does not change, and its optimizer does not count. So a schedule of its
    learning rate begins where the discriminator begins.
    """
    adaptive_weight: str = ""
    """Parameter of the generator that balances its adversarial loss and its terms.

    Both then have gradients of the same norm there. It is the path of the last layer that all its losses pass
    through, such as out/kernel; empty: off. See `gan_jax.AdaptiveWeight`.
    """
    generator_terms: tuple[ConfigTerm, ...] = ()
    """Terms of the generator's loss: penalties, each with its weight."""
    discriminator_terms: tuple[ConfigTerm, ...] = ()
    """Terms of the discriminator's loss: penalties, each with its weight."""
    generator_optimizer: Call = field(default=Call("adam", learning_rate=2e-4, b1=0.5))
    """The generator's optimizer, a name in `gan_jax.optimizers`."""
    discriminator_optimizer: Call = field(default=Call("adam", learning_rate=2e-4, b1=0.5))
    """The discriminator's optimizer, a name in `gan_jax.optimizers`."""
    augment: Call = field(default=Call("identity"))
    """Augmentation of what the discriminator sees, a name in `gan_jax.augment`."""
    ema: Ema = field(default=Ema())
    """The moving average of the generator."""
    disc_steps: int = setting(1, least=1)
    """Updates of the discriminator in a step."""
    share_latents: bool = True
    """Use the latents and reals of the discriminator's last update for the generator too."""
    update: Literal["alternating", "generator_first", "simultaneous", "one_stage"] = "alternating"
    """Which player is updated first, or both at once.

    "alternating": the discriminator; "generator_first": the generator. "simultaneous" and "one_stage" update both
    in one pass: less work, and another algorithm.
    """
    microbatches: int = setting(1, least=1)
    """Parts that an update cuts its batch into, to save memory."""
    joint_pass: bool = True
    """One pass of the discriminator over reals and fakes, where it keeps samples apart.

    The numbers are the same up to rounding. With batch norm or minibatch deviation they are always two batches.
    """
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks' computations.

    Parameters, statistics, logits and penalties stay float32.
    """
    tf32: bool = True
    """Multiply float32 matrices in the platform's fast mode, as JAX does by default.

    That is TF32 on NVIDIA GPUs and passes of bfloat16 on TPUs. False: full float32, as on a CPU always.
    """
    remat: Literal["none", "blocks", "all"] = setting("none", free=True)
    """What the derivatives of networks compute again, to save memory.

    "none": nothing; "blocks": the inside of each block; "all": each network, and then each block again. The
    numbers stay the same up to rounding. On a CPU it saves nothing.
    """
    deterministic: bool = False
    """Give the same bits on every run on a GPU too, at a cost in speed."""
    parallel: Parallel = field(default=Parallel())
    """How a step is spread over devices."""
    log: Log = field(default=Log())
    """The log of the run."""
    sample: Sample = field(default=Sample())
    """Grids of samples during the run."""
    checkpoint: Checkpoint = field(default=Checkpoint())
    """The checkpoints of the run."""
    health: Health = field(default=Health())
    """What the run does when it goes wrong."""
    metrics: Metrics = field(default=Metrics())
    """Measurements of the quality of the samples during the run."""
