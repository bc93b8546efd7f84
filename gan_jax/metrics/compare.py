"""Compares two sets of images by the metrics that compare generated images with a run's data."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..data.source import Source
from ..errors import UserError
from .evaluator import CHUNK
from .features.cache import cached_arrays, reference_key
from .features.extractor import Extractor, extract
from .frechet import statistics
from .hints import hints
from .measures import MEASURES, Comparison, Number, check_names
from .record import QUANTISATION, Record

_SYMMETRIC = ("frechet", "kernel", "kernel_full")
_NAMES = "A", "B"


class _Set(NamedTuple):
    """Features of a set of images, and what tells its images apart.

    Attributes:
        fingerprint: of the source.
        features: float32 `[N, D]`.
        logits: float32 `[N, K]`, or None.
        digests: a hash of each image's shape and pixels, uint64 `[N]`.
        labels: int32 `[N]`, or None.
    """

    fingerprint: str
    features: np.ndarray
    logits: np.ndarray | None
    digests: np.ndarray
    labels: np.ndarray | None


def compare_sets(
    a: Source, b: Source, extractor: Extractor, names: Sequence[str], *, count: int = 0, seed: int = 0
) -> list[Record]:
    """Measures how much the images of `b` differ from those of `a`, and returns a record of each number.

    `a` is in the place of the data and `b` in that of generated images: precision is the share of b's images that
    lie near those of a. `frechet` and the kernel distances are the same, bit for bit, with a and b exchanged.

    Args:
        a, b: sets of uint8 images of one height and width.
        extractor: computes the features of both.
        names: the metrics, keys of `metrics.measures.MEASURES`.
        count: the largest number of images of each set, a random choice; 0 for all.
        seed: of the choice.

    Raises:
        UserError: there is no such metric, the sets are not such images, or have too few.
    """
    check_names(tuple(names))
    _check(a, b, count)
    real, other = (_read(source, extractor, count, seed) for source in (a, b))
    counts = {"A": len(real.features), "B": len(other.features)}
    numbers: list[Number] = []
    for name in names:
        try:
            numbers += _measure(name, real, other, a.classes)
        except ValueError as error:
            rest = ",".join(other_name for other_name in names if other_name != name)
            omit = f"; or leave {name} out: --metrics {rest}" if rest else ""
            raise UserError(f"{name}: {error} (A is real, B is generated){omit}") from error
    common = _common(real, other)
    return [
        Record(
            metric=number.metric, value=number.value, error=number.error, error_meaning=number.error_meaning,
            features=extractor.name, weights=extractor.weights, resize=extractor.resize,
            reference=real.fingerprint, generated=other.fingerprint, split=str(getattr(a, "split", "")),
            reference_count=counts["A"], generated_count=counts["B"], seed=seed,
            options=dict(number.options),
            notes=(
                *hints(
                    number.metric, number.value, dict[str, int](counts),
                    k=number.options.get("k", 0), size=real.features.shape[1],  # pyright: ignore[reportArgumentType]
                ),
                *common, *number.notes, *extractor.notes_on(a.shape),
            ),
        )
        for number in numbers
    ]  # fmt: skip


def _check(a: Source, b: Source, count: int) -> None:
    if count < 0 or count == 1:
        raise UserError(f"--count must be at least 2 images of each set, or 0 for all, got {count}")
    for name, source in zip(_NAMES, (a, b)):
        if len(source.shape) != 3 or source.dtype != np.uint8:
            shape = tuple(source.shape)
            raise UserError(f"metrics need images, but {name} has samples of shape {shape}: give a set of images")
        if len(source) < 2:
            raise UserError(f"metrics need at least 2 images, but {name} has {len(source)}: add images")
    (height, width), (other_height, other_width) = a.shape[:2], b.shape[:2]
    if (height, width) != (other_height, other_width):
        raise UserError(
            f"the images of A are {height} x {width} and those of B are {other_height} x {other_width}: resize "
            f"both by --size {min(height, width, other_height, other_width)}"
        )


def _read(source: Source, extractor: Extractor, count: int, seed: int) -> _Set:
    """Returns the features of a set's images, or of a random choice of them; from the cache, if they are there."""
    total = len(source)
    number = min(count or total, total)
    every = np.arange(total)
    rows = every if number == total else np.sort(np.random.default_rng(seed).permutation(total)[:number])
    fingerprint = source.fingerprint()
    key = reference_key(
        extractor=extractor.name, weights=extractor.weights, resize=extractor.resize, quantisation=QUANTISATION,
        data=fingerprint, split=str(getattr(source, "split", "")), count=number,
        seed=0 if number == total else seed,
    )  # fmt: skip

    def compute() -> dict[str, np.ndarray]:
        digests: list[bytes] = []
        labels: list[np.ndarray] = []

        def chunks() -> Iterator[np.ndarray]:
            for start in range(0, number, CHUNK):
                read = source.read(rows[start : start + CHUNK])
                digests.extend(_digest(image) for image in read["image"])
                labels.extend([read["label"]] if "label" in read else [])
                yield read["image"]

        features, logits = extract(extractor, chunks())
        arrays = {"features": features, "digests": np.frombuffer(b"".join(digests), np.uint64)}
        arrays |= {} if logits is None else {"logits": logits}
        return arrays | ({"labels": np.concatenate(labels)} if labels else {})

    try:
        arrays = cached_arrays({"kind": "set", **key}, compute)
    except ValueError as error:  # such as images that are too small for the network
        raise UserError(str(error)) from error
    return _Set(fingerprint, arrays["features"], arrays.get("logits"), arrays["digests"], arrays.get("labels"))


def _digest(image: np.ndarray) -> bytes:
    pixels = hashlib.blake2b(str(image.shape).encode(), digest_size=8)
    pixels.update(np.ascontiguousarray(image).tobytes())
    return pixels.digest()


def _measure(name: str, a: _Set, b: _Set, classes: int | None) -> list[Number]:
    if name in _SYMMETRIC and a.fingerprint > b.fingerprint:  # one order, so that both draw the same subsets
        a, b = b, a
    labels = a.labels
    histogram = None if labels is None or classes is None else lambda: np.bincount(labels, minlength=classes)
    comparison = Comparison(b.features, b.logits, lambda: a.features, lambda: statistics(a.features), histogram)
    numbers = MEASURES[name](comparison)
    # `hints` names the set that has too few images.
    return [number._replace(notes=()) for number in numbers] if name in _SYMMETRIC else numbers


def _common(a: _Set, b: _Set) -> list[str]:
    """Returns a sentence if the two sets share images."""
    if np.array_equal(np.sort(a.digests), np.sort(b.digests)):
        return ["A and B are the same images: the numbers say nothing but that"]
    shared = int(np.isin(b.digests, a.digests).sum())
    return (
        [f"{shared:,} of the {len(b.digests):,} images of B {'is' if shared == 1 else 'are'} in A too"]
        if shared
        else []
    )
