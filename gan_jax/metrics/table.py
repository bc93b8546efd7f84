"""The table of measured numbers that the command line prints: under 100 columns, with all that they depend on."""

import textwrap
from collections.abc import Iterable, Sequence

from ..errors import printable
from .hints import hints
from .record import QUANTISATION, Record, readable

WIDTH = 98


def table(records: Sequence[Record], sets: Sequence[str] = ()) -> str:
    """Returns a line for each number, and below them what they have in common: images, features, notes.

    Args:
        records: of one measurement: the same images and the same features.
        sets: names of the two sets of a comparison, the reference first; () for images of a run.
    """
    first = records[0]
    shared = [name for name in first.options if all(r.options.get(name) == first.options[name] for r in records)]
    rows = [
        (record.metric, _number(record), _detail(record, [n for n in record.options if n not in shared]))
        for record in records
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [
        line
        for name, number, detail in rows
        for line in _wrapped(f"{name:{widths[0]}}  {number:{widths[1]}}", detail, sum(widths) + 2)
    ]
    facts = [*_images(first, sets), ("features", _features(first))]
    facts += [("options", ", ".join(f"{name} {first.options[name]}" for name in shared))] if shared else []
    facts += [("versions", ", ".join(f"{name} {version}" for name, version in first.versions.items()))]
    facts += [("note", note) for note in _notes(records, sets)]
    label = max(len(name) for name, _ in facts)
    return "\n".join([*lines, "", *(line for name, text in facts for line in _wrapped(name, text, label))])


def _number(record: Record) -> str:
    return readable(record.value) + ("" if record.error is None else f" ± {readable(record.error)}")


def _detail(record: Record, names: Iterable[str]) -> str:
    return ", ".join([f"{name} {record.options[name]}" for name in names] + [record.error_meaning or ""]).strip(
        ", "
    )


def _images(record: Record, sets: Sequence[str]) -> list[tuple[str, str]]:
    split = f" of split {record.split}" if record.split else ""
    reference = f"{record.reference_count:,} images{split}, {record.reference}"
    if record.generated is not None:
        return [
            ("A", f"{sets[0]}: {reference}"),
            ("B", f"{sets[1]}: {record.generated_count:,} images, {record.generated}"),
        ]
    step = "" if record.step is None else f" of step {record.step}"
    quantisation = "" if record.quantisation == QUANTISATION else f", {record.quantisation}"
    generated = f"{record.generated_count:,} images{step}, seed {record.seed}{quantisation}"
    return [("generated", generated), ("reference", reference)]


def _features(record: Record) -> str:
    resize = "not resized" if record.resize == "none" else f"resized by {record.resize}"
    return f"{record.features}, weights {record.weights}, {resize}"


def _notes(records: Sequence[Record], sets: Sequence[str]) -> Iterable[str]:
    """Returns the notes of all records, each once. Records of two sets have their hints among their notes."""
    notes = {note: None for record in records for note in record.notes}
    if not sets:
        for record in records:
            counts = {"generated": record.generated_count, "reference": record.reference_count}
            counts = {f"the {name} set": count for name, count in counts.items()}
            k = record.options.get("k", 0)
            notes |= dict.fromkeys(hints(record.metric, record.value, counts, k=k, size=record.size))
    return notes


def _wrapped(name: str, text: str, width: int) -> list[str]:
    """Returns lines of text beside a name, which has the first one to itself if there is no text."""
    start, indent = f"{name:{width}}  ", " " * (width + 2)
    lines = textwrap.wrap(printable(text), WIDTH, initial_indent=start, subsequent_indent=indent)
    return lines or [start.rstrip()]
