"""Which images a folder or zip file has, and what their classes are: sub-folders, or NVIDIA's `dataset.json`."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import UserError, one_line, quoted
from ..files.typed_json import parse_object
from .classes import list_names
from .containers import Container, Name
from .file_kinds import DATASET_JSON, is_named_image
from .source import reason

SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""Which split the word in the name of a folder or file means, as Hugging Face's libraries have it."""


class MixedFoldersError(UserError):
    """Some images are in sub-folders, which would be their classes, and some are not."""


@dataclass
class Layout:
    """The files of a set that may be images, and their classes.

    Attributes:
        names: of the files, in the order of their parts.
        label: int32 `[N]`, or None.
        class_names: one name for each label, or None.
        notes: what may surprise.
        depth: the number of folders above the classes: those that hold all others, and that of the split.
    """

    names: list[Name]
    label: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    notes: list[str] = field(default_factory=list)
    depth: int = 0

    def before(self) -> "Layout":
        """Returns the layout with the labels of gan_jax 0.1: the topmost folders, in the order of their text."""
        tops = [name[0] for name in self.names if len(name) > 1]
        if self.label is None or len(tops) < len(self.names):
            return Layout(self.names, notes=self.notes)
        classes = sorted(set(tops))
        return Layout(self.names, _numbers(tops, classes), tuple(map(one_line, classes)), self.notes)


def natural(text: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """Returns the key of the natural order, in which "9" comes before "10"."""

    def key(part: str) -> tuple[int, str]:
        if not re.fullmatch(r"\d+", part, re.ASCII):
            return -1, part.casefold()
        digits = part.lstrip("0")  # not int(part), which refuses thousands of digits
        return len(digits), digits

    return tuple(map(key, re.split(r"(\d+)", text, flags=re.ASCII))), text


def splits_of(names: Sequence[Name], is_sample: Callable[[Name], bool] = is_named_image) -> list[str]:
    """Returns the folders at the top if all of them are splits, and no image lies beside them; else none."""
    tops, beside, _ = _tops(names, is_sample)
    all_are = len(tops) > 1 and not beside and all(map(_split_of, tops))
    return sorted(tops, key=natural) if all_are else []


def _tops(names: Sequence[Name], is_sample: Callable[[Name], bool]) -> tuple[set[str], bool, int]:
    """Returns the folders at the top that have images, whether images lie beside them, and how deep the top is.

    A folder that alone holds folders is not at the top: those that it holds are. If no file has the ending of an
    image, those without any ending count.
    """
    likely = [name for name in names if is_sample(name)]
    likely = likely or [name for name in names if "." not in name[-1]]
    depth = _common_depth(likely)
    tops = {name[depth] for name in likely if len(name) > depth + 1}
    return tops, any(len(name) == depth + 1 for name in likely), depth


def _common_depth(names: Sequence[Name], depth: int = 0) -> int:
    """Returns at which depth the folders differ, at least `depth`. The last folder above the files counts."""
    while names and len({name[depth] for name in names}) == 1 and all(len(name) > depth + 2 for name in names):
        depth += 1
    return depth


def _split_of(top: str) -> str | None:
    """Returns which split a folder is by its name, such as "val" for "val2017"; None: it is none."""
    return SPLITS.get(re.sub(r"[ _.-]?\d*$", "", top.lower(), flags=re.ASCII))


def choose_split(
    container: Container,
    names: Sequence[Name],
    split: str | None,
    is_sample: Callable[[Name], bool] = is_named_image,
) -> Layout:
    """Returns the names of one split, below its folder.

    Args:
        container: where the files are, for messages.
        names: of all files that may be images.
        split: a folder at the top; "all" joins the splits; "" takes each folder as a class;
            None: train, if all folders at the top are splits.
        is_sample: whether a name is certainly that of a sample; the others are asked only if there is none.

    Raises:
        UserError: there is no such split, or some folders are splits and some are not.
    """
    (tops, beside, depth), splits = _tops(names, is_sample), splits_of(names, is_sample)
    if split is None and not splits:
        found = sorted(filter(_split_of, tops), key=natural)
        if len(found) > 1 and not beside:
            others = one_line(", ".join(sorted(tops - set(found), key=natural)[:6]))
            shown = one_line(container.path)
            raise UserError(
                f"'{shown}' holds the splits {', '.join(found)} beside other folders ({others}): "
                f"pass data.source.split={found[-1]} to read one, or an empty data.source.split= to take each "
                "as a class"
            )
    if split == "" or (split is None and not splits):
        return Layout(list(names))
    if split is None:
        split = next((top for top in splits if _split_of(top) == "train"), splits[0])
        others = ", ".join(top for top in splits if top != split)
        note = (
            f"note: the folders {', '.join(splits)} are read as splits: this is {split}; data.source.split reads "
            f"another ({others}), all of them (all), or takes them as classes (empty)"
        )
        return Layout(_below(names, depth, split), notes=[note], depth=depth + 1)
    if split == "all":
        chosen = [name for top in tops if _split_of(top) for name in _below(names, depth, top)]
        return Layout(sorted(chosen), depth=depth + 1)
    if split not in tops:
        known = one_line(", ".join(sorted(tops, key=natural)[:20])) or "none"
        raise UserError(f"'{one_line(container.path)}' has no split {quoted(split)}: its folders are {known}")
    return Layout(_below(names, depth, split), depth=depth + 1)


def _below(names: Sequence[Name], depth: int, top: str) -> list[Name]:
    """Returns the names of the files in a folder at the top."""
    return [name for name in names if len(name) > depth + 1 and name[depth] == top]


def classes_by_folder(
    container: Container, layout: Layout, kind: str = "images", kept: Sequence[int] | None = None
) -> Layout:
    """Adds the classes: the topmost folder of each file, below that of its split.

    A folder that alone holds folders is no class. A folder of files is, also if it is the only one.
    `kind`: what the files are, for messages. `kept`: which files are read, None for all; the layout that is
    returned has these alone, and a note names the classes that have none of them.

    Raises:
        UserError: some files are in no folder.
    """
    depth = _common_depth(layout.names, layout.depth)
    all_tops = [name[depth] if len(name) > depth + 1 else None for name in layout.names]
    names, tops = layout.names, all_tops
    if kept is not None:
        names, tops = [names[index] for index in kept], [tops[index] for index in kept]
    found = {top for top in tops if top is not None}
    lost = sorted({top for top in all_tops if top is not None} - found, key=natural)
    notes = [*layout.notes, *([_describe_lost(lost, kind)] if lost else [])]
    if not found:
        return Layout(names, notes=notes, depth=layout.depth)
    if None in tops:
        root_file = one_line("/".join(names[tops.index(None)]))
        raise MixedFoldersError(
            f"'{one_line(container.path)}' holds {kind} itself ('{root_file}') and in sub-folders "
            f"('{one_line(min(found, key=natural))}'): put all {kind} into sub-folders, one for each class, or "
            "pass data.source.labels=false"
        )
    classes = sorted(found, key=natural)
    return Layout(names, _numbers(tops, classes), tuple(map(one_line, classes)), notes, layout.depth)


def _describe_lost(classes: Sequence[str], kind: str) -> str:
    one = len(classes) == 1
    which = f"class {list_names(classes)} has" if one else f"classes {list_names(classes)} have"
    return f"note: the {which} no samples: all {'its' if one else 'their'} {kind} are left out"


def _numbers(values: Sequence[str | None], order: Sequence[str]) -> np.ndarray:
    number: dict[str | None, int] = {name: index for index, name in enumerate(order)}
    return np.array([number[value] for value in values], np.int32)


def classes_by_json(container: Container, layout: Layout) -> Layout | None:
    """Adds the classes of a `dataset.json`: `{"labels": [["00000/img00000000.png", 0], ...]}`.

    If the labels are null, there are no classes. Returns None if there are no labels in it at all.

    Raises:
        UserError: it cannot be read, lacks a file, or has labels that are no integers.
    """
    shown = one_line(container.path / "dataset.json")
    try:
        content = parse_object(container.read(DATASET_JSON).decode())
        if "labels" not in content:
            return None
        pairs = content["labels"]
        label_of = None if pairs is None else {tuple(str(name).split("/")): label for name, label in pairs}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"'{shown}' cannot be read ({reason(error)}): mend it, or pass data.source.labels=false"
        ) from error
    if label_of is None:
        return layout
    lacking = [name for name in layout.names if name not in label_of]
    if lacking:
        raise UserError(
            f"'{shown}' has no label for {len(lacking):,} of the {len(layout.names):,} images, such as "
            f"'{one_line('/'.join(lacking[0]))}': add them, or pass data.source.labels=false"
        )
    labels = [label_of[name] for name in layout.names]
    if not all(type(label) is int and abs(label) < 2**31 for label in labels):
        raise UserError(f"'{shown}' has labels that are no integers: pass data.source.labels=false")
    label, class_names, note = used_labels(np.array(labels, np.int64))
    return Layout(layout.names, label, class_names, [*layout.notes, *note], layout.depth)


def used_labels(label: np.ndarray) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """Maps the K different integers in `label` to 0 .. K - 1.

    Returns the int32 labels, the names of the classes, which are the integers of before, and notes.
    """
    values, mapped = np.unique(label, return_inverse=True)
    names = tuple(map(str, values.tolist()))
    lowest, highest = int(values[0]), int(values[-1])
    if (lowest, highest) == (0, len(values) - 1):
        return label.astype(np.int32), names, []
    note = (
        f"note: the labels are {len(values):,} different numbers from {lowest} to {highest}: they become the "
        f"classes 0 to {len(values) - 1}, and stay their names"
    )
    return mapped.reshape(label.shape).astype(np.int32), names, [note]
