"""Metrics during a run: how they are measured, and what checkpoints and resumed runs keep of them."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..config import Config
from ..config.build import Allow
from ..data.source import Source
from ..errors import UserError
from ..metrics.evaluator import Evaluator, generate_images
from ..metrics.features.choose import make_extractor
from ..metrics.measures import NUMBERS, check_names
from ..metrics.record import Record, append_new, rewind
from ..runtime.sampler import Sampler
from ..types import Variables


def check_settings(config: Config) -> None:
    """Raises UserError if the fields of `metrics` and `checkpoint.best` do not fit together."""
    check_names(config.metrics.names)
    if config.metrics.every and not config.metrics.names:
        raise UserError("metrics.every is set and metrics.names is empty: name one, or set every to 0")
    if config.metrics.every % config.parallel.fuse:
        raise UserError(
            f"metrics.every={config.metrics.every} is not a multiple of parallel.fuse={config.parallel.fuse}: "
            "metrics are measured at the end of a chunk"
        )
    best = config.checkpoint.best
    if not best:
        return
    if best not in NUMBERS:
        known = ", ".join(NUMBERS)
        raise UserError(f"checkpoint.best={best} is not the name of a number that metrics give: there are {known}")
    if not config.metrics.every or NUMBERS[best][0] not in config.metrics.names:
        raise UserError(
            f"checkpoint.best={best} is never measured: set metrics.every, and put {NUMBERS[best][0]} among "
            "metrics.names"
        )


def protocol(records: Iterable[Record]) -> str:
    """Returns a digest of everything that must be equal before the numbers of two steps are compared.

    The texts of notes and options enter it, so they belong to the format of a run.
    """
    parts = [{**r.to_json(), "value": None, "error": None, "error_meaning": None, "step": None} for r in records]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def make_evaluator(config: Config, source: Source, allow: Allow = None) -> Callable[[], Evaluator]:
    """Returns a function that makes the evaluator at its first call, and returns the same one at the others.

    The feature network is loaded, or trained, at the first call.
    """

    @functools.cache
    def make() -> Evaluator:
        metrics = config.metrics
        extractor = make_extractor(metrics.features, source, allow)
        return Evaluator(source, extractor, metrics.names, metrics.reference)

    return make


class PeriodicEvaluation:
    """Measures metrics during a run. Call it with a step and variables.

    Args:
        config: of the run.
        workdir: where the records go.
        sampler: makes the samples, with the run's seed.
        evaluator: from `make_evaluator`; called at the first measurement.
    """

    def __init__(self, config: Config, workdir: Path, sampler: Sampler, evaluator: Callable[[], Evaluator]):
        self._config, self._workdir, self._sampler = config, workdir, sampler
        self._evaluator = evaluator
        self._last: tuple[int, dict[str, object]] = (-1, {})

    def measured(self, step: int) -> dict[str, object]:
        """Returns the numbers and the `protocol` that the checkpoint of this step keeps, or nothing."""
        return self._last[1] if self._last[0] == step else {}

    def resume(self, step: int, record: Mapping[str, object]) -> str | None:
        """Goes on from the checkpoint of `step` with this record; a new run has an empty one.

        Returns:
            A note about lines of the workdir's records that cannot be used, or None.
        """
        self._last = step, {name: record[name] for name in ("metrics", "protocol") if name in record}
        return rewind(self._workdir, step)

    def __call__(self, step: int, variables: Variables) -> list[Record]:
        """Measures, writes the records to the workdir and returns them."""
        metrics, evaluator = self._config.metrics, self._evaluator()
        labels = evaluator.wanted_labels(metrics.count) if self._config.conditional else None
        records = evaluator.score(
            generate_images(self._sampler, variables, metrics.count, labels), seed=self._config.seed, step=step,
            options={} if labels is None else {"labels": "the reals'"},
        )  # fmt: skip
        append_new(self._workdir, records)
        numbers = {record.metric: record.value for record in records}
        self._last = step, {"metrics": numbers, "protocol": protocol(records)}
        return records
