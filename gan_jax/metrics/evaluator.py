"""Measures how good generated images are: compares them with a run's data, and makes a record of each number."""

import functools
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from .. import pixels
from ..data.source import Source
from ..errors import UserError
from ..runtime.sampler import BLOCK, Sampler
from ..types import Variables
from .features.cache import Features, cached_features, cached_statistics, reference_key
from .features.choose import unmirrored
from .features.extractor import Extractor, extract
from .frechet import Statistics
from .measures import MEASURES, Comparison, check_names
from .prdc import nearest
from .record import QUANTISATION, Record

CHUNK = 1024  # images that are read or generated at a time


class Evaluator:
    """Compares generated images with the data of a run.

    Args:
        source: the data. Of mirrored data, the original images are used.
        extractor: computes the features of real and generated images.
        names: the metrics, keys of `metrics.measures.MEASURES`.
        reference: the largest number of real images, a fixed random choice; 0 for all.

    Raises:
        UserError: there is no such metric, or the data are not images.
    """

    def __init__(self, source: Source, extractor: Extractor, names: Iterable[str], reference: int = 0):
        self._source = unmirrored(source)
        self._extractor, self._names = extractor, tuple(names)
        check_names(self._names)
        if reference < 0:
            raise UserError(f"reference must be at least 1 real image, or 0 for all, got {reference}")
        if len(self._source.shape) != 3:
            raise UserError(f"metrics need images, but the data have samples of shape {tuple(self._source.shape)}")
        total = len(self._source)
        count = min(reference, total) if reference else total
        every = np.arange(total)
        self._rows = every if count == total else np.sort(np.random.default_rng(0).permutation(total)[:count])
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
        options: Mapping[str, object] | None = None,
        notes: tuple[str, ...] = (),
    ) -> list[Record]:
        """Computes the metrics of generated images and returns a record of each number.

        Args:
            images: uint8 `[n, H, W, C]`, in chunks of any n.
            seed, step, options, notes: see `Record`. `options` and `notes` are added to those of the metrics.

        Raises:
            UserError: there are too few images for a metric, or features are not finite.
        """
        classes = self._source.classes
        histogram = None if classes is None else lambda: np.bincount(self.labels, minlength=classes)
        try:
            features, logits = extract(self._extractor, images)
            comparison = Comparison(
                features, logits, lambda: self._reference.features, lambda: self._statistics, histogram
            )
            numbers = [number for name in self._names for number in MEASURES[name](comparison)]
        except ValueError as error:
            raise UserError(str(error)) from error
        return [
            Record(
                metric=number.metric, value=number.value, error=number.error, error_meaning=number.error_meaning,
                features=self._extractor.name, weights=self._extractor.weights, resize=self._extractor.resize,
                reference=self._source.fingerprint(), split=self._split, reference_count=len(self._rows),
                generated_count=len(features), size=features.shape[1], seed=seed, step=step,
                options={**number.options, **(options or {})},
                notes=(*number.notes, *self._extractor.notes_on(self._source.shape), *notes),
            )
            for number in numbers
        ]  # fmt: skip

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """The labels of the real images, int32 `[N]`."""
        return np.concatenate([self._source.read(rows)["label"] for rows in self._chunks()])

    def wanted_labels(self, count: int) -> np.ndarray:
        """Returns labels for `count` generated images: those of the real images, in a fixed order, repeated."""
        order = np.random.default_rng(1).permutation(len(self._rows))
        return self.labels[order[np.arange(count) % len(order)]]

    def nearest_reals(self, images: np.ndarray, k: int) -> np.ndarray:
        """Returns the k real images whose features are nearest to those of each image, uint8 `[n, k, H, W, C]`.

        Raises:
            ValueError: there are fewer than k real images.
        """
        indices = nearest(extract(self._extractor, [images])[0], self._reference.features, k).indices
        reals = self._source.read(self._rows[indices.reshape(-1)])["image"]
        return reals.reshape(*indices.shape, *images.shape[1:])

    def _chunks(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self._rows), CHUNK):
            yield self._rows[start : start + CHUNK]

    @functools.cached_property
    def _reference(self) -> Features:
        reals = (self._source.read(rows)["image"] for rows in self._chunks())
        return cached_features(self._key, lambda: Features(extract(self._extractor, reals)[0]))

    @functools.cached_property
    def _statistics(self) -> Statistics:
        return cached_statistics(self._key, lambda: self._reference.features)


def generate_images(
    sampler: Sampler, variables: Variables, count: int, labels: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Generates `count` uint8 images in chunks, with `labels` `[count]` if the GAN is conditional.

    Raises:
        UserError: the samples are not finite.
    """
    return map(pixels.to_uint8, generate(sampler, variables, count, labels))


def generate(
    sampler: Sampler, variables: Variables, count: int, labels: np.ndarray | None = None, chunk: int = CHUNK
) -> Iterator[np.ndarray]:
    """Generates `count` float32 samples in chunks of `chunk`, with `labels` `[count]` if the GAN is conditional.

    Raises:
        UserError: the samples are not finite.
    """
    # All chunks have one size, so that one program is compiled.
    size = min(chunk, -(-count // BLOCK) * BLOCK if count > BLOCK else count)
    for first in range(0, count, size):
        chunk_labels = None if labels is None else labels[first : first + size]
        samples = sampler(variables, size, first=first, labels=chunk_labels)[: count - first]
        if not np.isfinite(samples).all():
            raise UserError("the generator's samples are not finite: go back to an earlier --step")
        yield samples
