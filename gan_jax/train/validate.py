"""Checks a run before it starts, the same way for training and for `--dry-run`."""

from ..config import Config
from ..config.build import Allow
from ..config.declared import Declared
from ..data.classes import class_counts, odd_classes
from ..data.source import Source, rate
from ..data.source import notes as data_notes
from ..errors import UserError
from ..metrics.features.choose import check_features
from ..report.loggers.choose import find_loggers
from ..report.view import view_notes
from .periodic_evaluation import check_settings


def check_run(config: Config, source: Source | None, allow: Allow = None) -> None:
    """Raises UserError if a run of `config` cannot end, or cannot be measured, as the config says.

    Without the data (None) it is not checked whether the features of the metrics can be computed. `allow`:
    top-level packages that names may come from besides gan_jax; None: any.
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
    find_loggers(config, allow)
    if config.metrics.every and source is not None:
        check_features(config.metrics.features, source)


def notes(config: Config, data: Declared) -> list[str]:
    """Returns the lines that are said before training: the data, and whatever works but may surprise."""
    lines = [data.describe() + _unused(config, data)]
    if data.source is not None:
        lines += data_notes(data.source)
        lines += odd_classes(data.spec.names(), class_counts(data.source)) if config.conditional else []
    classes = data.classes if config.conditional else None
    lines += view_notes(
        data.shape, None if data.source is None else rate(data.source), config.sample.count, classes
    )
    if data.count is not None and config.batch > data.count:
        times = f"{config.batch / data.count:.3g}"
        lines.append(
            f"note: batch={config.batch} is larger than the data set of {data.count:,}: a batch contains each "
            f"image {times} times, on average"
        )
    if config.freeze_discriminator and not config.init_from:
        lines.append("note: freeze_discriminator without init_from keeps blocks at their random first weights")
    if config.inputs is not None and not config.generator_terms:
        lines.append(
            "note: inputs is set, and generator_terms is empty: no loss compares a sample with the row that it is "
            "made from; add a term such as Term(10.0, Call('reconstruction')) to the config"
        )
    if config.steps < config.log.every:
        lines.append(
            f"note: log.every={config.log.every} is more than steps={config.steps}, so metrics.jsonl gets no "
            "line: set log.every"
        )
    return lines + _rounded(config)


def _unused(config: Config, data: Declared) -> str:
    unused = data.classes is not None and not config.conditional
    return "; conditional=false: the networks do not see the classes" if unused else ""


def _rounded(config: Config) -> list[str]:
    """Returns a note on intervals that are no multiple of the steps in a dispatch."""
    fuse = config.parallel.fuse
    every = {name: getattr(config, name).every for name in ("log", "sample", "checkpoint")}
    between = [f"{name}.every={n}" for name, n in every.items() if n % fuse and n < config.steps]
    if not between:
        return []
    return [
        f"note: parallel.fuse={fuse} makes {fuse} steps at a time, so what is due in between comes after them: "
        f"{', '.join(between)}"
    ]
