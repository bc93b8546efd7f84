"""Notes on sets whose values use a small part of their range, such as 12 bits in 16-bit files."""

from collections.abc import Iterable

from .decode import Values
from .images import Transform

_SMALL = 0.5  # the part of the range from which on nothing is said


def small_ranges(values: Iterable[Values]) -> list[Values]:
    """Returns, for files of 8 and of 16 bits, the values of all together if they are a small part of the range."""
    found: dict[float, Values] = {}
    for low, high, full in values:
        known = found.get(full, Values(low, high, full))
        found[full] = Values(min(low, known.low), max(high, known.high), full)
    used = (found[full] for full in sorted(found) if full > 0)
    return [one for one in used if 0 < one.high - one.low < _SMALL * one.full]


def range_notes(values: Iterable[Values], transform: Transform) -> list[str]:
    """Returns a note if the values of a set are a small part of their range, and `range` is not given."""
    if transform.range is not None:
        return []
    return [
        f"note: the images use the values {low:g} to {high:g} of 0 to {full:g}, a small part: "
        f"data.source.range={low:g},{high:g} makes them black to white"
        for low, high, full in small_ranges(values)
    ]
