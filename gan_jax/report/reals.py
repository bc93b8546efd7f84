"""The grid of real samples as the networks see them, before augmentation: what to look at before a run."""

import math
from pathlib import Path

import numpy as np

from ..data.classes import labels_of, list_names
from ..data.source import Mirrored, Source, class_names
from ..files.folder import Folder
from . import images as report
from .writer import SAMPLES

REALS = f"{SAMPLES}/reals.png"
_MOST, _LEAST, _SIDE = 64, 4, 4096  # samples in the grid; fewer, but not fewer than 4, keep it to 4096 pixels
_NARROW = 4  # columns, below which a grid with rows for each class would be too tall


def write_reals(workdir: Path, source: Source) -> None:
    """Writes `samples/reals.png`: rows of each class for labelled images, else samples from all over the set.

    The samples depend on the source alone.
    """
    samples, columns = _choose(source)
    centers = getattr(source, "centers", None)
    grid = report.picture(samples, centers=centers, columns=columns)
    Folder(workdir).write(REALS, report.png_bytes(grid), sync=False)


def reals_legend(source: Source) -> str | None:
    """Says which class is where in the grid of `write_reals`; None where it is not ordered by class."""
    names = class_names(source)
    if names is None or len(source.shape) != 3:
        return None
    classes, each, columns = _layout(source)
    shown = [names[number] for number in classes]
    listed, rows = list_names(shown, most=32), "a row" if each == columns else f"{each // (columns or 1)} rows"
    if columns is not None:
        return f"{rows} for each class, from the top: {listed}"
    return f"{each} of each class, row by row: {listed}"


def _layout(source: Source) -> tuple[np.ndarray, int, int | None]:
    """Returns the classes that are shown, the number of images of each, and the columns; None: about square."""
    height, width = source.shape[:2]
    most = min(_MOST, max(_LEAST, (_SIDE // height) * (_SIDE // width)))
    total = source.classes or 1
    classes = np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(np.int64))
    each = most // len(classes)
    columns = min(each, math.isqrt(most))
    if columns < _NARROW:
        return classes, each, None
    return classes, each // columns * columns, columns


def _choose(source: Source) -> tuple[np.ndarray, int | None]:
    """Returns samples `[N, *S]` and the columns of their grid. A white image stands where a class has too few."""
    # Mirror images come last, and say nothing more.
    rows = np.arange(len(source.source if isinstance(source, Mirrored) else source))
    if source.classes is None or len(source.shape) != 3:
        most = _layout(source)[1] if len(source.shape) == 3 else _MOST
        return source.read(_spread(rows, most))["image"], None
    classes, each, columns = _layout(source)
    label = labels_of(source)
    if label is None:  # a set on disk: look for the classes in a part of it
        rows = _spread(rows, 2 * _MOST)
        label = source.read(rows)["label"]
    samples = np.full((len(classes) * each, *source.shape), report.BACKGROUND, source.dtype)
    for place, number in enumerate(classes):
        of_class = rows[label == number]
        found = source.read(_spread(of_class, each))["image"]
        samples[place * each : place * each + len(found)] = found
    return samples, columns


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Returns at most `count` of the rows, at even distances."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64))]
