"""The grid of real samples as the networks see them, before augmentation: what to look at before a run."""

from pathlib import Path

import numpy as np

from ..data.classes import labels_of
from ..data.source import Mirrored, Source, class_names, rate
from ..files.folder import Folder
from . import images as report
from .layout import choose_layout, grid_legend
from .sample_files import REALS, files_beside
from .view import choose_view

_MOST, _LEAST, _SIDE = 64, 4, 4096  # samples in the grid; fewer, but not fewer than 4, keep it to 4096 pixels


def write_reals(workdir: Path, source: Source, paired: int = 0) -> None:
    """Writes `samples/reals.png`: a block of each class for labelled images, else samples from all over the set.

    Beside it lie the same files as beside a sample grid. The samples depend on the source alone.

    Args:
        paired: of a run whose samples are made from rows of the data, the number of samples in a grid: the first
            rows are shown, each in the place of the sample that is made from it.
    """
    rows = np.arange(paired) % len(source)
    samples, groups = (source.read(rows)["image"], None) if paired else _choose(source)
    centers = getattr(source, "centers", None)
    grid = report.picture(samples, centers=centers, groups=groups)
    files = files_beside(REALS, samples, rate(source), groups)
    for name, content in {**files, REALS: report.png_bytes(grid)}.items():
        Folder(workdir).write(name, content, sync=False)


def reals_legend(source: Source, size: tuple[int, int] | None = None) -> str | None:
    """Says which class is where in the grid of `write_reals`; None where it is not ordered by class.

    `size`: height and width of the cells; None: those of `View.size`.
    """
    names, size = class_names(source), size or choose_view(tuple(source.shape)).size
    if names is None or size is None:
        return None
    classes, each = _shown(source)
    layout = choose_layout(each * len(classes), *size, len(classes))
    return grid_legend([names[number] for number in classes], layout)


def _shown(source: Source) -> tuple[np.ndarray, int]:
    """Returns the classes that are shown, and the number of images of each."""
    view = choose_view(tuple(source.shape))
    height, width = view.size or (1, 1)
    most = min(_MOST, view.most or max(_LEAST, (_SIDE // height) * (_SIDE // width)))
    total = source.classes or 1
    classes = np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(np.int64))
    return classes, most // len(classes)


def _choose(source: Source) -> tuple[np.ndarray, int | None]:
    """Returns samples `[N, *S]` of the classes in turn, and the number of classes; None: they are not in turn.

    A white image, or silence, stands where a class has too few.
    """
    # Mirror images come last, and say nothing more.
    rows = np.arange(len(source.source if isinstance(source, Mirrored) else source))
    view = choose_view(tuple(source.shape))
    if source.classes is None or view.size is None:
        most = _MOST if view.size is None else _shown(source)[1]
        return source.read(_spread(rows, most))["image"], None
    classes, each = _shown(source)
    label = labels_of(source)
    if label is None:  # a set on disk: look for the classes in a part of it
        rows = _spread(rows, 2 * _MOST)
        label = source.read(rows)["label"]
    silence, white = (0.0, 1.0) if source.dtype.kind == "f" else (128, report.BACKGROUND)
    blank = silence if view.kind == "audio" else white
    samples = np.full((each, len(classes), *source.shape), blank, source.dtype)
    for place, number in enumerate(classes):
        found = source.read(_spread(rows[label == number], each))["image"]
        samples[: len(found), place] = found
    return samples.reshape(-1, *source.shape), len(classes)


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Returns at most `count` of the rows, at even distances."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64))]
