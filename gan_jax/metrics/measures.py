"""The metrics by name, as `--metrics` and `metrics.names` take them: each turns features into numbers."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .frechet import Statistics, frechet_distance, statistics
from .inception_score import inception_score
from .kernel import kernel_distance, kernel_distance_full
from .modes import class_coverage
from .prdc import prdc

_SUBSET_SIZE, _SPLITS, _NEIGHBOURS = 1000, 10, 5


class Comparison(NamedTuple):
    """What the metrics compare. Functions are called only by the metrics that need them.

    Attributes:
        features: of the generated images, `[N, D]`.
        logits: of the generated images, `[N, K]`; None if the extractor has none.
        reference: returns the features of the real images, `[M, D]`.
        statistics: returns the mean and covariance of the real images' features.
        histogram: returns the number of real images in each class, `[classes]`; None if there are no labels.
    """

    features: np.ndarray
    logits: np.ndarray | None
    reference: Callable[[], np.ndarray]
    statistics: Callable[[], Statistics]
    histogram: Callable[[], np.ndarray] | None


class Number(NamedTuple):
    """One number of a metric. For the attributes see `record.Record`."""

    metric: str
    value: float
    error: float | None = None
    error_meaning: str | None = None
    options: Mapping[str, object] = MappingProxyType({})
    notes: tuple[str, ...] = ()


def frechet(comparison: Comparison) -> list[Number]:
    """Computes the Frechet distance. A note says if there are too few samples for a covariance of full rank."""
    generated, real = statistics(comparison.features), comparison.statistics()
    few = [name for name, side in (("generated", generated), ("reference", real)) if side.singular]
    notes = (f"fewer {' and '.join(few)} samples than features: biased upwards",) if few else ()
    return [Number("frechet", frechet_distance(generated, real), notes=notes)]


def kernel(comparison: Comparison) -> list[Number]:
    """Computes the kernel distance over subsets of 1000 samples, or of half the samples of the smaller set.

    A subset of all samples is always the same one, and has no spread. 2 or 3 samples therefore give no error.
    """
    generated, real = comparison.features, comparison.reference()
    size = max(2, min(_SUBSET_SIZE, min(len(generated), len(real)) // 2))
    distance = kernel_distance(generated, real, subset_size=size)
    # A size of its own is an option, so that `protocol` differs from that of 1000; 1000 adds no word to it.
    options = {} if size == _SUBSET_SIZE else {"subset_size": size}
    meaning = f"standard deviation of one of {distance.subsets} subsets of {distance.subset_size}"
    known = size <= min(len(generated), len(real)) // 2
    error = (distance.subset_std, meaning) if known else (None, None)
    return [Number("kernel", distance.mean, *error, options=options)]


def kernel_full(comparison: Comparison) -> list[Number]:
    """Computes the kernel distance over all samples, with its standard error."""
    distance = kernel_distance_full(comparison.features, comparison.reference())
    return [Number("kernel_full", distance.value, distance.standard_error, "standard error, first order")]


def score(comparison: Comparison) -> list[Number]:
    """Computes the Inception score over 10 splits in shuffled order, from the logits of any classifier.

    Fewer than 20 samples have fewer splits, of 2 samples or more, because the score of one sample is always 1. A
    single split has no error.
    """
    logits = _logits(comparison, "inception_score")
    result = inception_score(logits, splits=max(1, min(_SPLITS, len(logits) // 2)), shuffle=2020)
    options = {} if result.splits == _SPLITS else {"splits": result.splits}
    known = result.splits > 1
    error = (result.std, f"standard deviation of {result.splits} parts") if known else (None, None)
    return [Number("inception_score", result.mean, *error, options=options)]


def precision_recall(comparison: Comparison) -> list[Number]:
    """Computes precision, recall, density and coverage with 5 neighbours."""
    result = prdc(comparison.reference(), comparison.features, k=_NEIGHBOURS)
    return [Number(name, value, options={"k": _NEIGHBOURS}) for name, value in result._asdict().items()]


def modes(comparison: Comparison) -> list[Number]:
    """Counts the classes that a classifier finds in the samples, and computes KL(generated || data) in nats."""
    logits = _logits(comparison, "modes")
    if comparison.histogram is None:
        raise UserError("the metric modes counts the classes of labelled data, but these have no labels: omit it")
    histogram = comparison.histogram()
    if logits.shape[1] != len(histogram):
        raise UserError(
            f"the metric modes needs a classifier of the data's {len(histogram)} classes, but these features have "
            f"{logits.shape[1]}: use --features classifier"
        )
    missing = histogram.min() == 0  # a class without real images would make the divergence infinite
    coverage = class_coverage(logits.argmax(axis=1), len(histogram), histogram + missing)
    notes = ("one sample a class added to the reference, which lacks some",) if missing else ()  # in `protocol`
    options = {"classes": coverage.classes}
    return [
        Number("modes", coverage.found, options=options),
        Number("modes_kl", coverage.kl, options=options, notes=notes),
    ]


MEASURES: dict[str, Callable[[Comparison], list[Number]]] = {
    "frechet": frechet,
    "kernel": kernel,
    "kernel_full": kernel_full,
    "inception_score": score,
    "prdc": precision_recall,
    "modes": modes,
}

NUMBERS: dict[str, tuple[str, bool]] = {
    "frechet": ("frechet", False),
    "kernel": ("kernel", False),
    "kernel_full": ("kernel_full", False),
    "inception_score": ("inception_score", True),
    "precision": ("prdc", True),
    "recall": ("prdc", True),
    "density": ("prdc", True),
    "coverage": ("prdc", True),
    "modes": ("modes", True),
    "modes_kl": ("modes", False),
}
"""For each number: the metric that gives it, and whether a larger value is better."""


def best_by(number: str) -> tuple[str, bool] | None:
    """Returns the number and whether a larger value is better, as `Checkpoints` needs them; else None."""
    return (number, NUMBERS[number][1]) if number in NUMBERS else None


def check_names(names: tuple[str, ...]) -> None:
    """Raises UserError if a name is not the name of a metric."""
    for name in names:
        if name not in MEASURES:
            raise UserError(f"no metric {name!r}: there are {', '.join(MEASURES)}")


def _logits(comparison: Comparison, name: str) -> np.ndarray:
    if comparison.logits is None:
        raise UserError(f"the metric {name} needs logits, and these features have none: use other --features")
    return comparison.logits
