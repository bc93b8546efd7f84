"""Searches for the smallest change with which a program fits into a device's memory."""

from collections.abc import Callable, Sequence


def divisors(number: int) -> list[int]:
    """Returns the divisors of a number, from 1 up."""
    return [one for one in range(1, number + 1) if number % one == 0]


def smallest(choices: Sequence[int], fits: Callable[[int], bool], guess: float) -> int | None:
    """Returns the smallest choice that fits, or None if none does.

    Args:
        choices: ascending; if one fits, all larger ones do.
        fits: asked as rarely as possible, since it compiles a program.
        guess: where to begin. From there the search goes to the neighbours, one after the other.
    """
    low, high = 0, len(choices)  # all below `low` do not fit, and `high` and what is above it do
    at = next((index for index, choice in enumerate(choices) if choice >= guess), len(choices) - 1)
    while low < high:
        at = min(max(at, low), high - 1)
        if fits(choices[at]):
            high, at = at, at - 1
        else:
            low = at = at + 1
    return choices[high] if high < len(choices) else None
