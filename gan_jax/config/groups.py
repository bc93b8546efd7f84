"""The groups of fields of a config, such as `data` and `checkpoint`. `schema.Config` has one of each.

A field that is marked free may change on resume and does not change the result; any other field is part of the
run's identity. The text under a field documents it; `field_docs` reads it.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from .resolve import Call


def setting(default: Any, *, free: bool = False, least: float | None = None) -> Any:
    """A field with its default, whether it may change on resume (`free`), and its least value."""
    return field(default=default, metadata={"free": free, "least": least})


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
    """Write TensorBoard events too. `tensorboard` in `log.to` means the same."""
    to: tuple[str, ...] = setting((), free=True)
    """Loggers that get the log too: tensorboard, wandb, trackio, mlflow.

    Or a class of your own, such as my_package:MyLogger. See `gan_jax.report.loggers`.
    """
    checkpoints: bool = setting(False, free=True)
    """Send kept checkpoints to the loggers in `to`, as artifacts.

    These are the last one, and those that `checkpoint.archive_every` keeps for good.
    """


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
