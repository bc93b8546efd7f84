"""Looks at a folder or zip file of images: what is there, what is odd, and at which size it can be trained."""

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import one_line
from .classes import odd_classes
from .containers import Container, Name
from .facts import Facts
from .folder import read_folder
from .image_set import MixedFoldersError
from .images import Transform, parse_size
from .ranges import is_small, range_notes, value_ranges
from .read_images import Images

_MOST = 6  # of a kind that are listed
_SIDES = (256, 128, 64, 32, 16, 8)
_LONG = 1.2  # images whose sides differ by more than this factor are not trained as squares


@dataclass
class Survey:
    """What a folder or zip file has.

    Attributes:
        container: the folder or zip file.
        images: those that can be read, and those that cannot.
        label: int32 `[N]`, or None.
        class_names: one for each label, or None.
        notes: what may surprise.
    """

    container: Container
    images: Images
    label: np.ndarray | None
    class_names: tuple[str, ...] | None
    notes: list[str]

    def size(self) -> int | str | None:
        """Returns a size to train at; None if the images have it already."""
        sizes = [(known.height, known.width) for known in self.images.facts]
        suggested = suggest_size(sizes)
        return None if {parse_size(suggested)} == set(sizes) else suggested

    def range(self) -> tuple[float, float] | None:
        """Returns the `range` to train with; None if the values use their whole range, or are of several kinds."""
        found = value_ranges(known.values for known in self.images.facts)
        return (found[0].low, found[0].high) if len(found) == 1 and is_small(found[0]) else None


def survey(container: Container) -> Survey:
    """Reads every file of a folder or zip file.

    Raises:
        UserError: `dataset.json` cannot be used.
    """
    problem: list[str] = []
    try:
        layout, images = read_folder(container, True, None, Transform(), keep=False, check=lambda *_: None)
    except MixedFoldersError as error:  # without labels the images can be used
        layout, images = read_folder(container, False, None, Transform(), keep=False, check=lambda *_: None)
        problem = [f"note: {error}"]
    label, names = layout.label, layout.class_names
    counts = None if label is None or names is None else np.bincount(label, minlength=len(names))
    values = [known.values for known in images.facts]
    notes = [*layout.notes, *problem, *range_notes(values, Transform()), *odd_classes(names, counts)]
    return Survey(container, images, label, names, notes)


def suggest_size(sizes: Sequence[tuple[int, int]], most: int = _SIDES[0]) -> int | str:
    """Returns a size for images of these heights and widths.

    It is their own size, if they have the same one and the networks can make it; else one that is not larger than
    nine of ten, and of their shape.

    `most`: of the smaller side.
    """
    height, width = sizes[0]
    if len(set(sizes)) == 1 and min(height, width) <= most and _can_be_made(height, width):
        return height if height == width else f"{height}x{width}"
    short = sorted(min(size) for size in sizes)[len(sizes) // 10]
    side = next((one for one in _SIDES if one <= min(short, most)), _SIDES[-1])
    aspect = statistics.median(height / width for height, width in sizes)
    steps = round(4 * max(aspect, 1 / aspect))
    if max(aspect, 1 / aspect) < _LONG or steps == 4:
        return side
    return f"{side * steps // 4}x{side}" if aspect > 1 else f"{side}x{side * steps // 4}"


def _can_be_made(height: int, width: int) -> bool:
    """Returns whether networks make this size: a first map with a smaller side of 4 to 7, or 9, doubled."""
    for times in range(1, min(height, width).bit_length()):
        if height % 2**times == width % 2**times == 0 and min(height, width) >> times in (4, 5, 6, 7, 9):
            return True
    return False


def describe(found: Survey) -> Iterator[str]:
    """Yields a line for each thing that a person wants to know of a set, and then the notes."""
    images, facts = found.images, found.images.facts
    total = len(facts)
    splits = "" if found.class_names is None else f" in {len(found.class_names):,} classes"
    yield f"{total:,} images{splits} under '{one_line(found.container.path)}'"
    if found.class_names is not None and found.label is not None:
        counts = np.bincount(found.label, minlength=len(found.class_names))
        yield _row("classes", _listed(list(zip(found.class_names, counts.tolist())), most=20))
    yield _row("sizes", _listed(_count(f"{f.width} x {f.height}" for f in facts)) + " (width x height)")
    yield _row("formats", _listed(_count(known.format for known in facts)))
    yield _row("modes", _listed(_count(known.mode for known in facts)))
    yield _row("values", _listed(_values(facts)))
    yield _row("broken", _broken(images.broken))
    yield _row("duplicates", _duplicates(images))
    yield from found.notes


def _row(name: str, text: str) -> str:
    return f"  {name:12}{text}"


def _count(values: Iterable[str]) -> list[tuple[str, int]]:
    return Counter(values).most_common()


def _listed(pairs: Sequence[tuple[str, int]], most: int = _MOST) -> str:
    words = [f"{one_line(name, 40)}: {count:,}" for name, count in pairs[:most]]
    rest = sum(count for _, count in pairs[most:])
    return ", ".join([*words, *([f"{len(pairs) - most:,} others: {rest:,}"] if rest else [])])


def _values(facts: Sequence[Facts]) -> list[tuple[str, int]]:
    found: dict[float, list[Facts]] = {}
    for known in facts:
        found.setdefault(known.full, []).append(known)
    return [
        (f"{min(f.low for f in some):g} to {max(f.high for f in some):g} of {full:g}", len(some))
        for full, some in sorted(found.items())
    ]


def _broken(broken: Sequence[tuple[Name, Facts]]) -> str:
    if not broken:
        return "none"
    words = [f"{one_line('/'.join(name))} ({known.error})" for name, known in broken[:_MOST]]
    more = f", and {len(broken) - _MOST:,} more" if len(broken) > _MOST else ""
    return f"{len(broken):,}: {', '.join(words)}{more}: remove or replace them"


def _duplicates(images: Images) -> str:
    first: dict[str, Name] = {}
    pairs = []
    for name, known in zip(images.names, images.facts):
        if known.digest in first:
            pairs.append(f"{one_line('/'.join(name))} = {one_line('/'.join(first[known.digest]))}")
        first.setdefault(known.digest, name)
    if not pairs:
        return "none"
    more = f", and {len(pairs) - _MOST:,} more" if len(pairs) > _MOST else ""
    return f"{len(pairs):,} files have the content of another: {', '.join(pairs[:_MOST])}{more}"
