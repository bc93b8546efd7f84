"""How good a run's samples are: metrics with all that they depend on, as lines of `evaluations.jsonl`."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import pixels
from ..config import Call, Config
from ..config.build import Allow, build
from ..data.source import Mirrored, Source
from ..data.stacked import Stacked
from ..errors import UserError
from ..runtime.sampler import BLOCK, Sampler
from ..types import Variables
from .features import inception
from .features.cache import Features, cached_features, cached_statistics, reference_key
from .features.classifier import Classifier, check_source
from .features.classifier import stacked as channel_by_channel
from .features.extractor import Extractor, extract
from .frechet import Statistics
from .measures import MEASURES, Sides, check_names
from .prdc import nearest
from .record import EVALUATIONS, QUANTISATION, Record, append, read

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

    _features: Features | None = None
    _moments: Statistics | None = None
    _labels: np.ndarray | None = None

    def __init__(self, source: Source, extractor: Extractor, names: Iterable[str], reference: int = 0):
        self._source = unmirrored(source)
        self._extractor, self._names = extractor, tuple(names)
        check_names(self._names)
        if reference < 0:
            raise UserError(f"reference must be at least 1 real image, or 0 for all, got {reference}")
        if len(self._source.shape) != 3:
            raise UserError(f"features are of images, not of samples of shape {tuple(self._source.shape)}")
        total = len(self._source)
        count = min(reference, total) if reference else total
        whole = np.arange(total)
        self._rows = whole if count == total else np.sort(np.random.default_rng(0).permutation(total)[:count])
        self._split = str(getattr(self._source, "split", ""))
        self._key = reference_key(
            extractor=extractor.name, weights=extractor.weights, resize=extractor.resize,
            quantisation=QUANTISATION, data=self._source.fingerprint(), split=self._split, count=count, seed=0,
        )  # fmt: skip

    def score(
        self,
        images: Iterable[np.ndarray],
        *,
        seed: int,
        step: int | None = None,
        options: Mapping[str, Any] | None = None,
        notes: tuple[str, ...] = (),
    ) -> list[Record]:
        """A record for each number of each metric, of uint8 images `[n, H, W, C]`, any n at a time."""
        classes = self._source.classes
        histogram = None if classes is None else lambda: np.bincount(self.labels(), minlength=classes)
        try:
            features, logits = extract(self._extractor, images)
            sides = Sides(features, logits, lambda: self._reference().features, self._statistics, histogram)
            measured = [one for name in self._names for one in MEASURES[name](sides)]
        except ValueError as error:  # too few samples, features that are not finite
            raise UserError(str(error)) from error
        return [
            Record(
                metric=one.metric, value=one.value, error=one.error, error_meaning=one.error_meaning,
                features=self._extractor.name, weights=self._extractor.weights, resize=self._extractor.resize,
                reference=self._source.fingerprint(), split=self._split, reference_count=len(self._rows),
                generated_count=len(features), seed=seed, step=step,
                options={**one.options, **(options or {})},
                notes=(*one.notes, *self._extractor.notes, *notes),
            )
            for one in measured
        ]  # fmt: skip

    def labels(self) -> np.ndarray:
        """Of the reals, int32."""
        if self._labels is None:
            rows, parts = self._rows, range(0, len(self._rows), _ROWS)
            self._labels = np.concatenate([self._source.read(rows[i : i + _ROWS])["label"] for i in parts])
        return self._labels

    def wanted_labels(self, count: int) -> np.ndarray:
        """Labels for `count` generated images: the reals' own, in an order fixed once; round and round."""
        order = np.random.default_rng(1).permutation(len(self._rows))
        return self.labels()[order[np.arange(count) % len(order)]]

    def nearest_reals(self, images: np.ndarray, k: int) -> np.ndarray:
        """The k reals nearest to each image by features, uint8 `[n, k, H, W, C]`.

        Raises:
            ValueError: there are fewer reals.
        """
        found = nearest(extract(self._extractor, [images])[0], self._reference().features, k).indices
        shown = self._source.read(self._rows[found.reshape(-1)])["image"]
        return shown.reshape(*found.shape, *images.shape[1:])

    def _reals(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self._rows), _ROWS):
            yield self._source.read(self._rows[start : start + _ROWS])["image"]

    def _reference(self) -> Features:
        if self._features is None:
            self._features = cached_features(
                self._key, lambda: Features(extract(self._extractor, self._reals())[0])
            )
        return self._features

    def _statistics(self) -> Statistics:
        if self._moments is None:
            self._moments = cached_statistics(self._key, lambda: self._reference().features)
        return self._moments


def unmirrored(source: Source) -> Source:
    """The images as they were."""
    return source.source if isinstance(source, Mirrored) else source


def make_extractor(call: Call, source: Source, allow: Allow = None) -> Extractor:
    """The features that a call names, in `gan_jax.metrics`.

    A classifier is of the data's own classes: it is trained on the source once, and kept. Of a stacked set it is
    of the single images, and reads channel by channel.
    """
    plain = unmirrored(source)
    if not isinstance(plain, Stacked):
        return build(call, "metrics.features", allow, source=plain)
    made = build(call, "metrics.features", allow, source=plain.source)
    return channel_by_channel(made) if isinstance(made, Classifier) else made


def features_of(asked: Call | None, config: Config, source: Source, allow: Allow) -> Extractor:
    """What was asked for now, by whoever runs this; or else the run's own, which may not name just anything."""
    if asked is not None:
        return make_extractor(asked, source)
    return make_extractor(config.metrics.features, source, allow)


def check_features(call: Call, source: Source) -> None:
    """What can be known of features before hours are spent: raises UserError where they can't be had."""
    plain = unmirrored(source)
    if len(plain.shape) != 3:
        raise UserError(f"features are of images, not of samples of shape {tuple(plain.shape)}")
    if call.name == "classifier":
        check_source(plain.source if isinstance(plain, Stacked) else plain)
    elif call.name == "inception":
        inception.find(call.kwargs.get("weights"))


def generated(
    sampler: Sampler, variables: Variables, count: int, labels: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """`count` samples as uint8 images, some at a time, with `labels` `[count]` where the game has some.

    Raises:
        UserError: they are not finite.
    """
    rows = min(_ROWS, -(-count // BLOCK) * BLOCK if count > BLOCK else count)  # one size is one program
    for first in range(0, count, rows):
        some = None if labels is None else labels[first : first + rows]
        values = sampler(variables, rows, first=first, labels=some)[: count - first]
        if not np.isfinite(values).all():
            raise UserError("the generator's samples are not finite: go back to an earlier --step")
        yield pixels.to_uint8(values)


def keep(workdir: Path, records: Iterable[Record]) -> None:
    """Adds records to the workdir's file; one that says the same as a line there is not written twice.

    So a run that was killed after it measured, and measures again, leaves the file of an undisturbed one.
    """
    path = workdir / EVALUATIONS
    known = read(path)
    for record in records:
        if record not in known:
            append(path, record)
