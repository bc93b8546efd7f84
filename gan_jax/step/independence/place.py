"""Where the samples lie in a value of a jaxpr."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

INSIDE_KEY = -1  # the axis of a key that holds one key for each sample (`networks.per_sample_key`)


class Mixing(Exception):
    """An operation that mixes samples, or is not known to keep them apart."""


class Place(NamedTuple):
    """Where the samples lie in a value.

    Attributes:
        axis: the samples' axis, or None if the value does not depend on samples.
        constant: without samples: the axes along which the value is known to stay the same.
    """

    axis: int | None
    constant: frozenset[int] = frozenset()


Rule = Callable[[Any, list[Place], int], list[Place]]  # (equation, place of each operand, B) -> of each output
NOWHERE = Place(None)


def shape_of(variable: Any) -> tuple[int, ...]:
    return tuple(getattr(variable.aval, "shape", ()))


def is_constant(variable: Any, place: Place, axis: int) -> bool:
    """Returns whether a value without samples stays the same along an axis."""
    return axis == INSIDE_KEY or axis in place.constant or shape_of(variable)[axis] == 1


def common(variables: Sequence[Any], places: Sequence[Place], axes: Sequence[int | None]) -> int | None:
    """Returns the samples' axis of an output, or None.

    Args:
        variables: operands.
        places: of each of them.
        axes: of each operand, the axis of the output that its samples' axis becomes; None without samples.
    """
    found = {axis for axis in axes if axis is not None}
    if not found:
        return None
    if len(found) > 1:
        raise Mixing
    (axis,) = found
    for variable, place in zip(variables, places):
        if place.axis is None and shape_of(variable) and not is_constant(variable, place, axis):
            raise Mixing  # rows of the samples meet values that differ from row to row
    return axis
