"""The fields of a config: frozen dataclasses of plain values. `gan_jax.config` exports them.

A field that is marked free may change on resume and does not change the result; any other field is part of the
run's identity. The text under a field documents it; `field_docs` reads it.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from ..terms import Term as Term
from .resolve import Call, Home

HOMES: dict[str, Home] = {
    "data.source": Home("gan_jax.data"),
    "generator": Home("gan_jax.models", "Generator"),
    "discriminator": Home("gan_jax.models", "Discriminator"),
    "latent": Home("gan_jax.latents"),
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


def setting(default: Any, *, free: bool = False, least: float | None = None) -> Any:
    """A field with its default, whether it may change on resume (`free`), and its least value."""
    return field(default=default, metadata={"free": free, "least": least})


ConfigTerm = Term[float | Call, Call]
"""A term whose penalty is a name in `gan_jax.penalties`, and whose weight may be a name in `gan_jax.schedules`."""


@dataclass(frozen=True)
class Data:
    """Where the real images come from."""

    source: Call = field(default=Call("digits"))
    """The data set, a name in `gan_jax.data`."""
    resident: bool | Literal["auto"] = setting("auto", free=True)
    """Keep the whole set in device memory; "auto": where it fits.

    The batches are the same either way.
    """
    workers: int = setting(2, free=True, least=1)
    """Threads that decode images."""
    prefetch: int = setting(2, free=True, least=1)
    """Batches that are prepared ahead."""


@dataclass(frozen=True)
class Ema:
    """The exponential moving average (EMA) of the generator."""

    half_life: float | Call = field(default=10_000.0, metadata={"free": False, "least": 0})
    """Half-life of the average, in images; a Call: a schedule over the images seen."""
    ramp_up: float | None = setting(0.05, least=0)
    """Limit of the half-life, as a share of the images seen; none: no limit."""


@dataclass(frozen=True)
class Parallel:
    """How a step is spread over devices. Another layout gives the same numbers up to rounding."""

    mode: Literal["auto", "jit", "shard", "pmap"] = setting("auto", free=True)
    """One device ("jit"), or several ("shard" or "pmap"); "auto": by the number of devices.

    "shard" is a jit whose arrays are spread over the devices.
    """
    devices: int = setting(0, free=True, least=0)
    """Number of devices; 0: all."""
    fuse: int = setting(1, least=1)
    """Steps in one dispatch. It is part of the run's identity."""
    params: Literal["replicated", "sharded"] = setting("replicated", free=True)
    """Whether each device holds all parameters, or a part of them ("sharded").

    "sharded" also cuts the optimizer state and the moving average, for models too large for one device.
    """


@dataclass(frozen=True)
class Log:
    """The log of the run."""

    every: int = setting(50, free=True, least=1)
    """Steps from one line of metrics to the next."""
    tensorboard: bool = setting(True, free=True)
    """Write TensorBoard events too."""


@dataclass(frozen=True)
class Sample:
    """Grids of samples during the run."""

    every: int = setting(500, free=True, least=1)
    """Steps from one sample grid to the next."""
    count: int = setting(64, free=True, least=1)
    """Images in a sample grid."""
    truncation: float = setting(1.0, free=True, least=0)
    """Truncation of the latents; 1.0: none."""
    gif: bool = setting(True, free=True)
    """Write a GIF of all grids at the end."""


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoints of the run."""

    every: int = setting(1000, free=True, least=1)
    """Steps from one checkpoint to the next."""
    keep: int = setting(2, free=True, least=1)
    """Number of the newest checkpoints that are kept."""
    archive_every: int = setting(0, free=True, least=0)
    """Steps from one checkpoint that is kept for good to the next; 0: none.

    It need not be a multiple of `every`: such a step saves a checkpoint of its own.
    """
    best: str = setting("", free=True)
    """Metric by which the best checkpoint is kept too, such as frechet; empty: none."""


@dataclass(frozen=True)
class Health:
    """What a run does when it goes wrong."""

    returns: int = setting(0, free=True, least=0)
    """How often the run may return to a checkpoint when a number is not finite.

    It goes on from the last checkpoint with new latents. After the last return, or at once with 0, it stops.
    """
    warn: bool = setting(True, free=True)
    """Warn when the discriminator has won, or when all samples look alike."""


@dataclass(frozen=True)
class Metrics:
    """Measurements of the quality of the samples during the run. Each one keeps a checkpoint as well."""

    every: int = setting(0, free=True, least=0)
    """Steps from one measurement to the next; 0: no measurements."""
    names: tuple[str, ...] = setting(("frechet",), free=True)
    """The metrics, as `gan-jax evaluate --metrics` takes them."""
    features: Call = field(default=Call("classifier"), metadata={"free": True})
    """The features of images, a name in `gan_jax.metrics.features`."""
    count: int = setting(5000, free=True, least=2)
    """Number of generated samples."""
    reference: int = setting(0, free=True, least=0)
    """Number of real images to compare with; 0: all."""


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
    data: Data = Data()
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
    loss: Call = field(default=Call("non_saturating"))
    """The loss, a name in `gan_jax.losses`."""
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
    ema: Ema = Ema()
    """The moving average of the generator."""
    disc_steps: int = setting(1, least=1)
    """Updates of the discriminator in a step."""
    share_latents: bool = True
    """Use the latents and reals of the discriminator's last update for the generator too."""
    update: Literal["alternating", "simultaneous", "one_stage"] = "alternating"
    """The discriminator is updated first ("alternating"), or both players in one pass.

    "simultaneous" and "one_stage" do less work, and train differently.
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
    parallel: Parallel = Parallel()
    """How a step is spread over devices."""
    log: Log = Log()
    """The log of the run."""
    sample: Sample = Sample()
    """Grids of samples during the run."""
    checkpoint: Checkpoint = Checkpoint()
    """The checkpoints of the run."""
    health: Health = Health()
    """What the run does when it goes wrong."""
    metrics: Metrics = Metrics()
    """Measurements of the quality of the samples during the run."""
