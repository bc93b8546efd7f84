"""Notes on sets whose values use a small part of their range, such as 12 bits in 16-bit files."""

from collections.abc import Iterable

from .decode import Values
from .images import Transform

_SMALL = 0.5  # the part of the range from which on nothing is said


def range_notes(values: Iterable[Values], transform: Transform) -> list[str]:
    """Returns a note if all values of a set lie in a small part of their range, and `range` is not given."""
    if transform.range is not None:
        return []
    lines = []
    by_full: dict[float, tuple[float, float]] = {}
    for low, high, full in values:
        if full > 0:
            least, most = by_full.get(full, (low, high))
            by_full[full] = min(low, least), max(high, most)
    for full, (low, high) in sorted(by_full.items()):
        if high > low and high - low < _SMALL * full:
            lines.append(
                f"note: the images use the values {low:g} to {high:g} of 0 to {full:g}, a small part: "
                f"data.source.range={low:g},{high:g} makes them black to white"
            )
    return lines
