"""What a config alone says of its data set: the shape, the classes and the size, where the data are not here."""

import inspect
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..data.classes import class_counts, describe_data
from ..data.images import Transform
from ..data.source import DataMissingError, Mirrored, Source, class_names
from ..data.stacked import stacked
from ..errors import UserError
from .build import Allow, SampleSpec, make_source
from .resolve import Call
from .schema import Config


@dataclass
class Declared:
    """A data set as a config describes it.

    Attributes:
        shape, dtype, classes: as those of a `Source`.
        count: of the samples; None: not known.
        source: the data themselves; None: they are not here.
        mirrored: whether `count` counts each image and its mirror image.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    classes: int | None
    count: int | None
    source: Source | None = None
    mirrored: bool = False

    @classmethod
    def of(cls, source: Source) -> "Declared":
        """Describes data that are here."""
        is_mirrored = isinstance(source, Mirrored)
        return cls(tuple(source.shape), source.dtype, source.classes, len(source), source, is_mirrored)

    @property
    def spec(self) -> SampleSpec:
        names = None if self.source is None else class_names(self.source)
        return SampleSpec(tuple(self.shape), np.dtype(self.dtype).name, self.classes, names)

    def __len__(self) -> int:
        assert self.count is not None
        return self.count

    def describe(self) -> str:
        """Returns a line about the data, which says whether they are here."""
        counts = None if self.source is None else class_counts(self.source)
        where = "" if self.source is not None else "; the data are not here: this is what the config says of them"
        described = describe_data(self.shape, self.count, self.spec.names(), counts, self.mirrored)
        return f"data: {described}{where}"


class _Facts(NamedTuple):
    shape: tuple[int, ...]
    classes: int | None
    count: int  # of the split "train"


# From the data sets' pages in the TFDS catalogue.
_TFDS = {
    "mnist": _Facts((28, 28, 1), 10, 60_000),
    "fashion_mnist": _Facts((28, 28, 1), 10, 60_000),
    "kmnist": _Facts((28, 28, 1), 10, 60_000),
    "cifar10": _Facts((32, 32, 3), 10, 50_000),
    "cifar100": _Facts((32, 32, 3), 100, 50_000),
    "svhn_cropped": _Facts((32, 32, 3), 10, 73_257),
    "stl10": _Facts((96, 96, 3), 10, 5_000),
    "celeb_a": _Facts((218, 178, 3), None, 162_770),
    **{f"imagenet_resized/{n}x{n}": _Facts((n, n, 3), 1000, 1_281_167) for n in (8, 16, 32, 64)},
}


def declared(config: Config, allow: Allow = None) -> Declared:
    """Returns the data set of a run, read where it is there, or else as the config describes it.

    Raises:
        UserError: the data are neither here nor described well enough, or cannot be used.
    """
    try:
        source = make_source(config, allow)
    except DataMissingError as error:
        facts = _facts(config.data.source)
        if isinstance(facts, str):
            raise UserError(f"{error}; the config alone does not say {facts}") from error
        shape, classes, count = facts
        if config.conditional and classes is None:
            raise UserError(f"{error}; the config alone does not say how many classes there are") from error
        is_mirrored = bool(config.data.source.kwargs.get("mirror"))
        return Declared(shape, np.dtype(np.uint8), classes, count, mirrored=is_mirrored)
    return Declared.of(source)


def _facts(call: Call) -> tuple[tuple[int, ...], int | None, int | None] | str:
    """Returns shape, classes and count of the source that `call` names, or what is not known."""
    given = call.kwargs
    if call.name == "stacked":
        inner = _facts(given["source"])
        if isinstance(inner, str):
            return inner
        (height, width, _), classes, _ = inner
        count = given.get("count", inspect.signature(stacked).parameters["count"].default)
        return (height, width, 3), None if classes is None else classes**3, count
    if call.name not in ("folder", "tfds"):
        return "which shape the samples have"
    known = _TFDS.get(str(given.get("name")).split(":")[0]) if call.name == "tfds" else None
    size, channels = given.get("size"), given.get("channels")
    if known is None and size is None:
        return "which size the images have (data.source.size)"
    height, width, depth = (0, 0, 3) if known is None else known.shape
    shape = Transform(size, channels=channels).shape(height, width, depth)
    has_labels = given.get("label_key", "label") == "label" and given.get("labels", True)
    count = known.count if known and given.get("split", "train") == "train" else None
    doubled = 2 if given.get("mirror") else 1
    return shape, known.classes if known and has_labels else None, None if count is None else doubled * count
