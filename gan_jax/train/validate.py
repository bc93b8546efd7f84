"""What a run may not be, and what is worth a note: the same for training and for `--dry-run`."""

from ..config import Config
from ..data.source import Source
from ..errors import UserError
from ..metrics.features.choose import check_features
from .periodic_evaluation import check_settings


def check_run(config: Config, source: Source) -> None:
    """Raises UserError where a run of `config` can't end, or be measured, as it says."""
    steps, fuse = config.steps, config.parallel.fuse
    if steps % fuse:
        below = steps - steps % fuse
        near = f"{below} or {below + fuse}" if below else f"{fuse}"
        raise UserError(
            f"steps={steps} is no multiple of parallel.fuse={fuse}, and a run stops at the end of a chunk: say "
            f"steps={near}, or set parallel.fuse"
        )
    check_settings(config)
    if config.metrics.every:
        check_features(config.metrics.features, source)


def notes(config: Config, count: int) -> list[str]:
    """A line for each thing in `config` that works, but may not be meant; `count`: samples in the set."""
    if config.batch <= count:
        return []
    times = f"{config.batch / count:.3g}"
    return [
        f"note: batch={config.batch} is larger than the set of {count:,}: each image comes {times} times a batch, "
        "on average"
    ]
