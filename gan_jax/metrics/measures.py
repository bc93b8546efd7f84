"""The metrics by name: what `--metrics` and `metrics.names` take, each from features of both sides to numbers."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..errors import UserError
from .frechet import Statistics, frechet_distance, statistics
from .inception_score import inception_score
from .kernel import kernel_distance, kernel_distance_full
from .modes import class_coverage
from .prdc import prdc

_SUBSET, _K = 1000, 5


class Sides(NamedTuple):
    """What the metrics compare.

    Attributes:
        features, logits: of the generated samples, `[N, D]` and `[N, K]` (None where the extractor has none).
        reference: gives the reals' features `[M, D]`; called only by metrics that need them.
        statistics: gives the reals' mean and covariance.
        histogram: gives the reals' labels counted, `[classes]`; None where there are no labels.
    """

    features: np.ndarray
    logits: np.ndarray | None
    reference: Callable[[], np.ndarray]
    statistics: Callable[[], Statistics]
    histogram: Callable[[], np.ndarray] | None


class Measured(NamedTuple):
    """One number, as `record.Record` names its parts."""

    metric: str
    value: float
    error: float | None = None
    error_meaning: str | None = None
    options: Mapping[str, Any] = MappingProxyType({})
    notes: tuple[str, ...] = ()


def frechet(sides: Sides) -> list[Measured]:
    """The Frechet distance; a note where samples were too few for a covariance of full rank."""
    made, real = statistics(sides.features), sides.statistics()
    few = [word for word, one in (("generated", made), ("reference", real)) if one.singular]
    notes = (f"fewer {' and '.join(few)} samples than features: biased upwards",) if few else ()
    return [Measured("frechet", frechet_distance(made, real), notes=notes)]


def kernel(sides: Sides) -> list[Measured]:
    """The kernel distance over subsets of 1000 (fewer where there are fewer)."""
    made, real = sides.features, sides.reference()
    some = kernel_distance(made, real, subset_size=min(_SUBSET, len(made), len(real)))
    meaning = f"standard deviation of one of {some.subsets} subsets of {some.subset_size}"
    return [Measured("kernel", some.mean, some.subset_std, meaning)]


def kernel_full(sides: Sides) -> list[Measured]:
    """The kernel distance over all samples, with its standard error; N M values of the kernel, in float64."""
    whole = kernel_distance_full(sides.features, sides.reference())
    return [Measured("kernel_full", whole.value, whole.standard_error, "standard error, first order")]


def score(sides: Sides) -> list[Measured]:
    """The Inception score, over 10 parts in shuffled order, of whatever classifier the features are from."""
    made = inception_score(_logits(sides, "inception_score"), splits=min(10, len(sides.features)), shuffle=2020)
    return [Measured("inception_score", made.mean, made.std, f"standard deviation of {made.splits} parts")]


def precision_recall(sides: Sides) -> list[Measured]:
    """Precision, recall, density and coverage with 5 neighbours."""
    found = prdc(sides.reference(), sides.features, k=_K)
    return [Measured(name, value, options={"k": _K}) for name, value in found._asdict().items()]


def modes(sides: Sides) -> list[Measured]:
    """Classes that a classifier finds among the samples, and KL(generated || data) of their histogram in nats."""
    logits = _logits(sides, "modes")
    if sides.histogram is None:
        raise UserError("modes counts the classes of a labelled set, and this one has no labels: leave it out")
    histogram = sides.histogram()
    if logits.shape[1] != len(histogram):
        raise UserError(
            f"modes needs a classifier of the data's {len(histogram)} classes, and these features have "
            f"{logits.shape[1]}: take --features classifier"
        )
    lacks = histogram.min() == 0  # a class that the reals lack would make the divergence infinite
    found = class_coverage(logits.argmax(axis=1), len(histogram), histogram + lacks)
    notes = ("one sample a class added to the reference, which lacks some",) if lacks else ()
    options = {"classes": found.classes}
    return [
        Measured("modes", found.found, options=options),
        Measured("modes_kl", found.kl, options=options, notes=notes),
    ]


MEASURES: dict[str, Callable[[Sides], list[Measured]]] = {
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
"""Each number that a metric gives: the metric, and whether more is better."""


def best_by(number: str) -> tuple[str, bool] | None:
    """The number and whether more is better, as `Checkpoints` takes it; None for what is no number."""
    return (number, NUMBERS[number][1]) if number in NUMBERS else None


def check_names(names: tuple[str, ...]) -> None:
    """Raises UserError for a name that is no metric."""
    for name in names:
        if name not in MEASURES:
            raise UserError(f"no metric {name!r}: there are {', '.join(MEASURES)}")


def _logits(sides: Sides, name: str) -> np.ndarray:
    if sides.logits is None:
        raise UserError(f"{name} needs class logits, and these features come without: take other --features")
    return sides.logits
