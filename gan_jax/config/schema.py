"""What a run is made of: frozen dataclasses of plain values. Users meet all of it through `gan_jax.config`.

A field marked free may change on resume and moves no bits; any other is part of the run's identity.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from ..penalties import Term as Term
from .resolve import Call, Home

HOMES: dict[str, Home] = {
    "data.source": Home("gan_jax.data"),
    "data.source.source": Home("gan_jax.data"),  # of a set that is built from another one
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
    "schedule": Home("gan_jax.schedules"),  # a penalty's weight, and a Call among another one's keywords
}
"""Where the short names of each field live, by the field's path without indices."""


def setting(default: Any, *, free: bool = False, least: float | None = None) -> Any:
    """A field with its default; `free` on resume, and not below `least`."""
    return field(default=default, metadata={"free": free, "least": least})


ConfigTerm = Term[float | Call, Call]
"""A term whose penalty is a name in `gan_jax.penalties`, and whose weight may be a name in `gan_jax.schedules`."""


@dataclass(frozen=True)
class Data:
    """Where the real images come from.

    source: a name in `gan_jax.data`.
    resident: keep the whole set on the device ("auto": where it fits). The batches are the same either way.
    workers: threads that decode. prefetch: batches prepared ahead.
    """

    source: Call = field(default=Call("digits"))
    resident: bool | Literal["auto"] = setting("auto", free=True)
    workers: int = setting(2, free=True, least=1)
    prefetch: int = setting(2, free=True, least=1)


@dataclass(frozen=True)
class Ema:
    """The exponential moving average of the generator.

    half_life: in images; a Call is a schedule over images seen. ramp_up: at most this share of the images seen so
    far; None for no such limit.
    """

    half_life: float | Call = field(default=10_000.0, metadata={"free": False, "least": 0})
    ramp_up: float | None = setting(0.05, least=0)


@dataclass(frozen=True)
class Parallel:
    """How the step is spread. Another layout agrees to rounding only.

    mode: one device or a sharded jit ("jit", "shard"), or "pmap"; "auto" chooses by the devices.
    devices: how many; 0 for all. fuse: steps in one dispatch; part of the run's identity.
    params: "sharded" cuts parameters, optimizer state and average over the devices, for models too large for one.
    """

    mode: Literal["auto", "jit", "shard", "pmap"] = setting("auto", free=True)
    devices: int = setting(0, free=True, least=0)
    fuse: int = setting(1, least=1)
    params: Literal["replicated", "sharded"] = setting("replicated", free=True)


@dataclass(frozen=True)
class Log:
    """every: steps between two lines of metrics. tensorboard: write TensorBoard events as well."""

    every: int = setting(50, free=True, least=1)
    tensorboard: bool = setting(True, free=True)


@dataclass(frozen=True)
class Sample:
    """Pictures of samples during the run.

    every: steps between two. count: images in one. truncation: 1.0 for none. gif: a film of them at the end.
    """

    every: int = setting(500, free=True, least=1)
    count: int = setting(64, free=True, least=1)
    truncation: float = setting(1.0, free=True, least=0)
    gif: bool = setting(True, free=True)


@dataclass(frozen=True)
class Checkpoint:
    """every: steps between two checkpoints. keep: how many of the newest stay.

    best: keep the best checkpoint by this number as well, one of those that `metrics` gives; "" for none.
    """

    every: int = setting(1000, free=True, least=1)
    keep: int = setting(2, free=True, least=1)
    best: str = setting("", free=True)


@dataclass(frozen=True)
class Health:
    """What a run does where it goes wrong.

    returns: how often it may go back to the last checkpoint on its grid, with fresh latents, once a number is not
    finite any more; then, or at 0 at once, it stops. warn: say so where the discriminator has won, or all samples
    look alike.
    """

    returns: int = setting(0, free=True, least=0)
    warn: bool = setting(True, free=True)


@dataclass(frozen=True)
class Metrics:
    """How good the samples are, measured during the run; each time a checkpoint is kept as well.

    every: steps between two measurements; 0 for none. names: which, as `gan-jax evaluate --metrics` takes them.
    features: of images, a name in `gan_jax.metrics`. count: generated samples. reference: reals they are compared
    with, 0 for all.
    """

    every: int = setting(0, free=True, least=0)
    names: tuple[str, ...] = setting(("frechet",), free=True)
    features: Call = field(default=Call("classifier"), metadata={"free": True})
    count: int = setting(5000, free=True, least=2)
    reference: int = setting(0, free=True, least=0)


@dataclass(frozen=True)
class Config:
    """A run. With its seed and the number of steps it says everything about the result.

    name: of the run, in reports. seed: of every random draw. steps: where to stop; may grow on resume.
    batch: images in a step, over all devices. conditional: give both players the labels.
    generator, discriminator: names in `gan_jax.models`. latent, loss, augment: names in the modules so named.
    generator_terms, discriminator_terms: penalties added to the players' losses.
    generator_optimizer, discriminator_optimizer: names in `gan_jax.optimizers`.
    disc_steps: turns of the discriminator in a step. share_latents: the generator's turn reuses the last
    discriminator turn's latents and reals. update: "simultaneous" and "one_stage" move both players in one pass,
    another game at less work. microbatches: parts a turn's batch is cut into to save memory.
    precision: of the networks' computations; parameters, statistics, logits and penalties stay float32.
    tf32: leave products of float32 numbers to the platform's fast mode, as JAX does by default: TF32 on NVIDIA's
    GPUs, passes of bfloat16 on TPUs. False computes them in full float32; on a CPU they always are.
    deterministic: the same bits on every run on a GPU too, at a cost in speed.
    data, ema, parallel, log, sample, checkpoint, health, metrics: groups of their own.
    """

    name: str
    seed: int = setting(0, least=0)
    steps: int = setting(1000, free=True, least=0)
    batch: int = setting(64, least=1)
    data: Data = Data()
    generator: Call = field(default=Call("dcgan"))
    discriminator: Call = field(default=Call("dcgan"))
    conditional: bool = False
    latent: Call = field(default=Call("normal", size=100))
    loss: Call = field(default=Call("non_saturating"))
    generator_terms: tuple[ConfigTerm, ...] = ()
    discriminator_terms: tuple[ConfigTerm, ...] = ()
    generator_optimizer: Call = field(default=Call("adam", learning_rate=2e-4, b1=0.5))
    discriminator_optimizer: Call = field(default=Call("adam", learning_rate=2e-4, b1=0.5))
    augment: Call = field(default=Call("identity"))
    ema: Ema = Ema()
    disc_steps: int = setting(1, least=1)
    share_latents: bool = True
    update: Literal["alternating", "simultaneous", "one_stage"] = "alternating"
    microbatches: int = setting(1, least=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    tf32: bool = True
    deterministic: bool = False
    parallel: Parallel = Parallel()
    log: Log = Log()
    sample: Sample = Sample()
    checkpoint: Checkpoint = Checkpoint()
    health: Health = Health()
    metrics: Metrics = Metrics()
