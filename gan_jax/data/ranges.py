"""Notes on sets whose values use a small part of their range, such as 12 bits in 16-bit files."""

from collections.abc import Iterable

from .decode import Values
from .images import Transform

_SMALL = 0.5  # the part of the range from which on nothing is said


def value_ranges(values: Iterable[Values]) -> list[Values]:
    """Returns the values of all files together, for each range that a file may have (8 bits, 16 bits, floats)."""
    found: dict[float, Values] = {}
    for low, high, full in values:
        known = found.get(full, Values(low, high, full))
        found[full] = Values(min(low, known.low), max(high, known.high), full)
    return [found[full] for full in sorted(found) if full > 0]


def is_small(values: Values) -> bool:
    """Returns whether the values are a small part of their range."""
    return 0 < values.high - values.low < _SMALL * values.full


def range_notes(values: Iterable[Values], transform: Transform) -> list[str]:
    """Returns a note if the values of a set are a small part of their range, and `range` is not given."""
    found = [] if transform.range is not None else value_ranges(values)
    if len(found) == 1:
        advice = "a small part: data.source.range={0.low:g},{0.high:g} makes them black to white"
    else:  # `range` would scale the others too
        advice = "and others have another range: convert these to the whole range"
    return [
        f"note: the images use the values {one.low:g} to {one.high:g} of 0 to {one.full:g}, {advice.format(one)}"
        for one in found
        if is_small(one)
    ]
