"""The classes of a data set: how many samples each has, how a line names them, and what a user calls them."""

import re
from collections.abc import Sequence

import numpy as np

from ..errors import UserError, near, one_line, quoted
from .source import Mirrored, Source, describe_shape

MOST_LISTED = 12  # classes in one line
_MOST_COUNTED = 2**25  # labels
_ODD = 20  # times that the largest class may be larger than another one, before a note says so


def class_counts(source: Source) -> np.ndarray | None:
    """Returns the number of samples of each class, int64 `[classes]`; None: the data would have to be read.

    Mirror images are not counted.
    """
    if isinstance(source, Mirrored):
        return class_counts(source.source)
    label = labels_of(source)
    if label is None or source.classes is None or len(label) > _MOST_COUNTED:
        return None
    return np.bincount(label, minlength=source.classes)


def labels_of(source: Source) -> np.ndarray | None:
    """Returns all labels, `[N]`, or those of the first half of a mirrored set; None: they are not in memory."""
    if isinstance(source, Mirrored):
        return labels_of(source.source)
    label = getattr(source, "label", None)
    return label if isinstance(label, np.ndarray) and label.shape == (len(source),) else None


def describe_data(
    shape: tuple[int, ...],
    count: int | None,
    names: Sequence[str] | None,
    counts: np.ndarray | None = None,
    mirrored: bool = False,
) -> str:
    """Returns what there is: "303 images of 64x64x3; 3 classes: circle 150, square 150, triangle 3".

    Args:
        shape: of a sample.
        count: of the samples; None: not known.
        names: of the classes; None: there are no labels.
        counts: of the samples of each class; None: not known.
        mirrored: whether `count` counts each image and its mirror image; `counts` never does.
    """
    kind = "images" if len(shape) == 3 else "samples"
    images = 1 if count is None else count // 2 if mirrored else count
    shown = (kind[:-1] if images == 1 else kind) if count is not None else kind
    text = f"{shown if count is None else f'{images:,} {shown}'} of {describe_shape(shape)}"
    text += f", mirrored to {count:,}" if mirrored and count is not None else ", mirrored" if mirrored else ""
    if names is None:
        return f"{text}; no classes"
    classes = f"{len(names):,} class{'es' if len(names) != 1 else ''}"
    numbered = list(names) == [str(number) for number in range(len(names))]
    if len(names) <= MOST_LISTED and counts is not None and not numbered:
        each = ", ".join(f"{one_line(name, 40)} {number:,}" for name, number in zip(names, counts, strict=True))
        return f"{text}; {classes}: {each}"
    listed = "" if numbered else f": {list_names(names)}"
    if counts is not None:
        listed += f" ({_span(counts)} {kind[:-1] if counts.max() == 1 else kind} each)"
    return f"{text}; {classes}{listed}"


def _span(counts: np.ndarray) -> str:
    least, most = int(counts.min()), int(counts.max())
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def list_names(names: Sequence[str], most: int = MOST_LISTED) -> str:
    """Returns the names with commas between them; of more than `most`, the first ones and the last one."""
    shown = [one_line(name, 40) for name in names]
    return ", ".join(shown if len(shown) <= most else [*shown[: most - 1], "...", shown[-1]])


def odd_classes(names: Sequence[str] | None, counts: np.ndarray | None) -> list[str]:
    """Returns notes on classes without a sample, and on those with far fewer than the largest class."""
    if names is None or counts is None or not len(counts):
        return []

    def among(chosen: np.ndarray) -> str:
        listed = list_names([name for name, one in zip(names, chosen, strict=True) if one], most=6)
        return f"class{'es' if chosen.sum() > 1 else ''} {listed}"

    lines = []
    if (empty := counts == 0).any():
        verb = "have" if empty.sum() > 1 else "has"
        lines.append(f"note: {among(empty)} {verb} no images: samples of it will be arbitrary")
    few = (counts > 0) & (counts * _ODD <= counts.max())
    if few.any():
        smallest = counts[few]
        verb = "have" if few.sum() > 1 else "has"
        largest = one_line(names[int(counts.argmax())], 40)
        lines.append(
            f"note: {among(few)} {verb} {_span(smallest)} image{'s' if smallest.max() > 1 else ''}, and {largest} "
            f"has {counts.max():,}: a run learns little of small classes"
        )
    return lines


def find_classes(given: Sequence[int | str], names: Sequence[str]) -> list[int]:
    """Returns the numbers of classes that are given by number, or by name.

    Text is a name; it is a number if no class has that name.

    Raises:
        UserError: there is no such class; it names those with a similar name.
    """
    if not given:
        raise UserError(f"no class is named: there are {list_names(names)}")
    number_of = {name: number for number, name in enumerate(names)}
    found = []
    for one in given:
        number = number_of.get(one) if isinstance(one, str) else int(one)
        if number is None and re.fullmatch(r"\s*-?[0-9]{1,9}\s*", str(one)):
            number = int(one)
        if number is None:
            raise UserError(f"there is no class {quoted(one)}{_choices(str(one), names)}")
        if not 0 <= number < len(names):
            raise UserError(f"labels must be from 0 to {len(names) - 1}{_named(names)}, got {number}")
        found.append(number)
    return found


def _choices(given: str, names: Sequence[str]) -> str:
    """Returns the end of a sentence about an unknown class: names like it, or all of them if they are few."""
    alike = {name.casefold(): name for name in names}
    if (same := alike.get(given.casefold().strip())) is not None:
        hint = f": did you mean {quoted(same)}?"
    else:
        hint = near(given, map(one_line, names))
        if "did you mean" not in hint:  # in the order of the classes, not sorted
            hint = f": there are {list_names(names)}"
    if any("," in name for name in names):
        hint += " (a name with a comma needs quotes: --labels '\"a, b\",c')"
    return hint


def _named(names: Sequence[str]) -> str:
    return "" if list(names) == [str(i) for i in range(len(names))] else f", or a name ({list_names(names)})"


def rows_legend(names: Sequence[str], rows: int) -> str:
    """Says which class is where in a grid with a class for each row: `names` in turn."""
    if len(names) == 1:
        return f"all are of the class {list_names(names)}"
    again = ", and again" if rows > len(names) else ""
    return f"each row is one class, from the top: {list_names(names[:rows], most=32)}{again}"


def folder_names(names: Sequence[str]) -> list[str]:
    """Returns a name of a folder for each class, all different, also where a file system ignores case.

    What is not allowed in a name of a file on Linux, macOS or Windows becomes "_". Of names that are the same
    then, each but the first ends in its number.
    """
    taken: set[str] = set()
    folders = []
    for number, name in enumerate(names):
        safe = re.sub(r'[/\\:*?"<>|]', "_", "".join(c if c.isprintable() else "_" for c in name)).strip(" ")
        safe = safe.encode(errors="replace")[:100].decode(errors="ignore")  # a file system takes 255 bytes
        if not safe.strip("."):
            safe = "_" * max(1, len(safe))
        safe = f"_{safe[1:]}" if safe.startswith(".") else safe  # a folder with a dot is hidden
        safe = f"{safe[:-1]}_" if safe.endswith(".") else safe
        while safe.casefold() in taken:
            safe = f"{safe}_{number}"
        taken.add(safe.casefold())
        folders.append(safe)
    return folders
