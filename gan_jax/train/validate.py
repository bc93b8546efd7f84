"""Checks a run before it starts, the same way for training and for `--dry-run`."""

from ..config import Config
from ..data.source import Source
from ..errors import UserError
from ..metrics.features.choose import check_features
from .periodic_evaluation import check_settings


def check_run(config: Config, source: Source | None) -> None:
    """Raises UserError if a run of `config` cannot end, or cannot be measured, as the config says.

    Without the data (None) it is not checked whether the features of the metrics can be computed.
    """
    steps, fuse = config.steps, config.parallel.fuse
    if steps % fuse:
        below = steps - steps % fuse
        near = f"{below} or {below + fuse}" if below else f"{fuse}"
        raise UserError(
            f"steps={steps} is not a multiple of parallel.fuse={fuse}, and a run stops at the end of a chunk: set "
            f"steps={near}, or set parallel.fuse"
        )
    check_settings(config)
    if config.metrics.every and source is not None:
        check_features(config.metrics.features, source)


def notes(config: Config, count: int | None) -> list[str]:
    """Returns a line for each thing that works, but may surprise. `count`: of the data; None: not known."""
    if count is None or config.batch <= count:
        return []
    times = f"{config.batch / count:.3g}"
    return [
        f"note: batch={config.batch} is larger than the data set of {count:,}: a batch contains each image "
        f"{times} times, on average"
    ]
