"""How good a run's samples are: metrics with all that they depend on, as lines of `evaluations.jsonl`."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import report
from .config import Call, Config
from .data.source import Mirrored, Source
from .data.stacked import Stacked
from .errors import UserError
from .metrics.classifier import Classifier
from .metrics.classifier import stacked as channel_by_channel
from .metrics.extractor import Extractor, extract
from .metrics.measures import MEASURES, NUMBERS, Sides, check_names
from .metrics.record import EVALUATIONS, QUANTISATION, Record, append, read
from .metrics.reference import Features, cached_features, cached_statistics, reference_key
from .recipe import Allow, build
from .sampling import BLOCK, Sampler
from .types import Variables

_ROWS = 1024  # read or generated at a time


class Evaluator:
    """Compares generated images with the data of a run.

    Args:
        source: the data; of a mirrored one, the images as they were.
        extractor: gives the features of both sides.
        names: of the metrics, keys of `metrics.measures.MEASURES`.
        reference: reals at most, a fixed random choice; 0 for all.

    Raises:
        UserError: there is no such metric; the data are no images.
    """

    def __init__(self, source: Source, extractor: Extractor, names: Iterable[str], reference: int = 0):
        self._source = source.source if isinstance(source, Mirrored) else source
        self._extractor, self._names = extractor, tuple(names)
        check_names(self._names)
        if len(self._source.shape) != 3:
            raise UserError(f"features are of images, not of samples of shape {tuple(self._source.shape)}")
        total = len(self._source)
        count = min(reference, total) if reference else total
        whole = np.arange(total)
        self._rows = whole if count == total else np.sort(np.random.default_rng(0).permutation(total)[:count])
        self._split = str(getattr(self._source, "split", "train"))
        self._key = reference_key(
            extractor=extractor.name, weights=extractor.weights, resize=extractor.resize,
            quantisation=QUANTISATION, data=self._source.fingerprint(), split=self._split, count=count, seed=0,
        )  # fmt: skip
        self._kept: Features | None = None

    def score(
        self, images: Iterable[np.ndarray], *, seed: int, step: int | None = None, options: dict | None = None
    ) -> list[Record]:
        """A record for each number of each metric, of uint8 images `[n, H, W, C]`, any n at a time."""
        features, logits = extract(self._extractor, images)
        labelled = self._source.classes is not None
        sides = Sides(
            features, logits, lambda: self._reference().features, self._statistics,
            self._histogram if labelled else None,
        )  # fmt: skip
        try:
            measured = [one for name in self._names for one in MEASURES[name](sides)]
        except ValueError as error:  # too few samples, features that are not finite
            raise UserError(str(error)) from error
        return [
            Record(
                metric=one.metric, value=one.value, error=one.error, error_meaning=one.error_meaning,
                features=self._extractor.name, weights=self._extractor.weights, resize=self._extractor.resize,
                reference=self._source.fingerprint(), split=self._split, reference_count=len(self._rows),
                generated_count=len(features), seed=seed, step=step,
                options={**one.options, **(options or {})}, notes=one.notes,
            )
            for one in measured
        ]  # fmt: skip

    def _reals(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self._rows), _ROWS):
            yield self._source.read(self._rows[start : start + _ROWS])["image"]

    def _reference(self) -> Features:
        if self._kept is None:
            self._kept = cached_features(self._key, lambda: Features(extract(self._extractor, self._reals())[0]))
        return self._kept

    def _statistics(self) -> Any:
        return cached_statistics(self._key, lambda: self._reference().features)

    def _histogram(self) -> np.ndarray:
        parts = [self._source.read(self._rows[i : i + _ROWS])["label"] for i in range(0, len(self._rows), _ROWS)]
        return np.bincount(np.concatenate(parts), minlength=self._source.classes or 0)


def make_extractor(call: Call, source: Source, allow: Allow = None) -> Extractor:
    """The features that a call names, in `gan_jax.metrics`.

    A classifier is of the data's own classes: it is trained on the source once, and kept. Of a stacked set it is
    of the single images, and reads channel by channel.
    """
    plain = source.source if isinstance(source, Mirrored) else source
    if not isinstance(plain, Stacked):
        return build(call, "metrics.features", allow, source=plain)
    made = build(call, "metrics.features", allow, source=plain.source)
    return channel_by_channel(made) if isinstance(made, Classifier) else made


def features_of(asked: Call | None, config: Config, source: Source, allow: Allow) -> Extractor:
    """What was asked for now, by whoever runs this; or else the run's own, which may not name just anything."""
    if asked is not None:
        return make_extractor(asked, source)
    return make_extractor(config.metrics.features, source, allow)


def generated(sampler: Sampler, variables: Variables, count: int) -> Iterator[np.ndarray]:
    """`count` samples as uint8 images, some at a time."""
    rows = min(_ROWS, -(-count // BLOCK) * BLOCK)  # whole blocks: one size is one program
    for first in range(0, count, rows):
        yield report.to_uint8(sampler(variables, rows, first=first)[: count - first])


def keep(workdir: Path, records: Iterable[Record]) -> None:
    """Adds records to the workdir's file; one that says the same as a line there is not written twice.

    So a run that was killed after it measured, and measures again, leaves the file of an undisturbed one.
    """
    path = workdir / EVALUATIONS
    known = read(path)
    for record in records:
        if record not in known:
            append(path, record)


def check_settings(config: Config) -> None:
    """Raises UserError where `metrics` or `checkpoint.best` can't be as they are."""
    check_names(config.metrics.names)
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


class Measuring:
    """Metrics during a run. Nothing is loaded, or trained, before the first measurement.

    Args:
        config: of the run.
        workdir: where the records go.
        sampler: makes the samples, with the run's own seed.
        source: the data.
    """

    def __init__(self, config: Config, workdir: Path, sampler: Sampler, source: Source, allow: Allow = None):
        check_settings(config)
        self._config, self._workdir, self._sampler = config, workdir, sampler
        self._make: Callable[[], Evaluator] = lambda: Evaluator(
            source, make_extractor(config.metrics.features, source, allow),
            config.metrics.names, config.metrics.reference,
        )  # fmt: skip
        self._evaluator: Evaluator | None = None

    def __call__(self, step: int, variables: Variables) -> list[Record]:
        """The records of one measurement, kept in the workdir."""
        self._evaluator = self._evaluator or self._make()
        truncation = self._config.sample.truncation
        records = self._evaluator.score(
            generated(self._sampler, variables, self._config.metrics.count),
            seed=self._config.seed,
            step=step,
            options={} if truncation == 1.0 else {"truncation": truncation},
        )
        keep(self._workdir, records)
        return records
