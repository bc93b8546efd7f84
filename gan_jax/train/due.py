"""What is due after which step."""

from typing import NamedTuple

from ..config import Config


class Due(NamedTuple):
    """What a run does after a chunk of steps.

    Attributes:
        log: a line of metrics is begun.
        grid: a sample grid is drawn.
        checkpoint: an undisturbed run saves a checkpoint here.
        metrics: how good the samples are is measured.
        archive: a checkpoint is saved that is kept for good.
    """

    log: bool
    grid: bool
    checkpoint: bool
    metrics: bool
    archive: bool


def due_after(config: Config, step: int) -> Due:
    """Returns what is due at the end of the chunk of steps that ends with `step`."""

    def crossed(every: int) -> bool:
        return every > 0 and (step - config.parallel.fuse) // every != step // every

    return Due(
        log=crossed(config.log.every),
        grid=crossed(config.sample.every),
        checkpoint=crossed(config.checkpoint.every),
        metrics=crossed(config.metrics.every),
        archive=crossed(config.checkpoint.archive_every),
    )
