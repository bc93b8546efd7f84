"""The grid of real samples as the networks see them, before augmentation: what to look at before a run."""

from pathlib import Path

import numpy as np

from ..data.classes import labels_of
from ..data.source import Mirrored, Source, class_names
from ..files.folder import Folder
from . import images as report
from .layout import choose_layout, grid_legend
from .writer import SAMPLES

REALS = f"{SAMPLES}/reals.png"
_MOST, _LEAST, _SIDE = 64, 4, 4096  # samples in the grid; fewer, but not fewer than 4, keep it to 4096 pixels


def write_reals(workdir: Path, source: Source) -> None:
    """Writes `samples/reals.png`: a block of each class for labelled images, else samples from all over the set.

    The samples depend on the source alone.
    """
    samples, groups = _choose(source)
    centers = getattr(source, "centers", None)
    grid = report.picture(samples, centers=centers, groups=groups)
    Folder(workdir).write(REALS, report.png_bytes(grid), sync=False)


def reals_legend(source: Source) -> str | None:
    """Says which class is where in the grid of `write_reals`; None where it is not ordered by class."""
    names = class_names(source)
    if names is None or len(source.shape) != 3:
        return None
    classes, each = _shown(source)
    layout = choose_layout(each * len(classes), source.shape[0], source.shape[1], len(classes))
    return grid_legend([names[number] for number in classes], layout)


def _shown(source: Source) -> tuple[np.ndarray, int]:
    """Returns the classes that are shown, and the number of images of each."""
    height, width = source.shape[:2]
    most = min(_MOST, max(_LEAST, (_SIDE // height) * (_SIDE // width)))
    total = source.classes or 1
    classes = np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(np.int64))
    return classes, most // len(classes)


def _choose(source: Source) -> tuple[np.ndarray, int | None]:
    """Returns samples `[N, *S]` of the classes in turn, and the number of classes; None: they are not in turn.

    A white image stands where a class has too few.
    """
    # Mirror images come last, and say nothing more.
    rows = np.arange(len(source.source if isinstance(source, Mirrored) else source))
    if source.classes is None or len(source.shape) != 3:
        most = _shown(source)[1] if len(source.shape) == 3 else _MOST
        return source.read(_spread(rows, most))["image"], None
    classes, each = _shown(source)
    label = labels_of(source)
    if label is None:  # a set on disk: look for the classes in a part of it
        rows = _spread(rows, 2 * _MOST)
        label = source.read(rows)["label"]
    samples = np.full((each, len(classes), *source.shape), report.BACKGROUND, source.dtype)
    for place, number in enumerate(classes):
        found = source.read(_spread(rows[label == number], each))["image"]
        samples[: len(found), place] = found
    return samples.reshape(-1, *source.shape), len(classes)


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Returns at most `count` of the rows, at even distances."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64))]
