"""Metrics during a run: when they are due, what its checkpoints keep of them, and what a resumed run forgets."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..config import Config
from ..config.build import Allow
from ..data.source import Source
from ..errors import UserError
from ..metrics.evaluator import Evaluator, generate_images
from ..metrics.features.choose import make_extractor
from ..metrics.measures import NUMBERS, check_names
from ..metrics.record import EVALUATIONS, Record, append_new, read
from ..runtime.sampler import Sampler
from ..types import Variables


def check_settings(config: Config) -> None:
    """Raises UserError where `metrics` or `checkpoint.best` can't be as they are."""
    check_names(config.metrics.names)
    if config.metrics.every and not config.metrics.names:
        raise UserError("metrics.every is set and metrics.names is empty: name one, or set every to 0")
    if config.metrics.every % config.parallel.fuse:
        raise UserError(
            f"metrics.every={config.metrics.every} is no multiple of parallel.fuse={config.parallel.fuse}: "
            "metrics are measured at the end of a chunk"
        )
    best = config.checkpoint.best
    if not best:
        return
    if best not in NUMBERS:
        raise UserError(f"checkpoint.best={best} is no number of a metric: there are {', '.join(NUMBERS)}")
    if not config.metrics.every or NUMBERS[best][0] not in config.metrics.names:
        raise UserError(
            f"checkpoint.best={best} is never measured: set metrics.every, and put {NUMBERS[best][0]} among "
            "metrics.names"
        )


def rewind(workdir: Path, step: int) -> None:
    """Drops records of later steps than `step`: they are of a run that is now made anew."""
    path = workdir / EVALUATIONS
    records = read(path)
    kept = [one for one in records if one.step is None or one.step <= step]
    if len(kept) < len(records):
        path.unlink()
        append_new(workdir, kept)


def protocol(records: Iterable[Record]) -> str:
    """A digest of all that has to be equal before numbers of two steps are compared."""
    parts = [{**r.to_json(), "value": None, "error": None, "error_meaning": None, "step": None} for r in records]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


class PeriodicEvaluation:
    """Metrics during a run. Nothing is loaded, or trained, before the first measurement.

    Args:
        config: of the run.
        workdir: where the records go.
        sampler: makes the samples, with the run's own seed.
        source: the data.
        allow: as `resolve` takes it.
    """

    def __init__(self, config: Config, workdir: Path, sampler: Sampler, source: Source, allow: Allow = None):
        self._config, self._workdir, self._sampler = config, workdir, sampler
        self._source, self._allow = source, allow
        self._evaluator: Evaluator | None = None
        self._last: tuple[int, dict[str, Any]] = (-1, {})

    def due(self, before: int, step: int) -> bool:
        """Whether a measurement falls on a chunk's end."""
        every = self._config.metrics.every
        return every > 0 and before // every != step // every

    def of(self, step: int) -> dict[str, Any]:
        """What the record of a checkpoint at this step keeps: the numbers, and a digest of how they came about."""
        return self._last[1] if self._last[0] == step else {}

    def resume(self, step: int, record: Mapping[str, Any]) -> None:
        """Take up a run from a checkpoint with such a record; a new one has none."""
        rewind(self._workdir, step)
        self._last = step, {name: record[name] for name in ("metrics", "protocol") if name in record}

    def __call__(self, step: int, variables: Variables) -> list[Record]:
        """The records of one measurement, kept in the workdir."""
        metrics = self._config.metrics
        if self._evaluator is None:
            extractor = make_extractor(metrics.features, self._source, self._allow)
            self._evaluator = Evaluator(self._source, extractor, metrics.names, metrics.reference)
        labels = self._evaluator.wanted_labels(metrics.count) if self._config.conditional else None
        records = self._evaluator.score(
            generate_images(self._sampler, variables, metrics.count, labels), seed=self._config.seed, step=step,
            options={} if labels is None else {"labels": "the reals'"},
        )  # fmt: skip
        append_new(self._workdir, records)
        numbers = {record.metric: record.value for record in records}
        self._last = step, {"metrics": numbers, "protocol": protocol(records)}
        return records
