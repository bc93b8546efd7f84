"""Rules of operations on each number, and of those that move, join, cut or remove axes."""

import math
from collections.abc import Sequence
from typing import Any

from .place import INSIDE_KEY, NOWHERE, Mixing, Place, Rule, common, is_constant, shape_of


def elementwise(equation: Any, places: list[Place], size: int) -> list[Place]:
    """Operands of one rank, in which axes of length 1 are repeated, or scalars."""
    axis = common(equation.invars, places, [place.axis for place in places])
    if axis is not None:
        return [Place(axis)] * len(equation.outvars)
    arrays = [(v, p) for v, p in zip(equation.invars, places) if shape_of(v)]
    rank = len(shape_of(equation.outvars[0]))
    same = frozenset(d for d in range(rank) if all(is_constant(v, p, d) for v, p in arrays))
    return [Place(None, same)] * len(equation.outvars)


def each_operand(equation: Any, places: list[Place], size: int) -> list[Place]:
    """Output i is operand i."""
    return places


def broadcast(equation: Any, places: list[Place], size: int) -> list[Place]:
    target, to = equation.params["shape"], [int(d) for d in equation.params["broadcast_dimensions"]]
    source, place = shape_of(equation.invars[0]), places[0]
    if place.axis is not None:
        return [Place(place.axis if place.axis == INSIDE_KEY else to[place.axis])]
    varying = {to[d] for d in range(len(source)) if not is_constant(equation.invars[0], place, d)}
    return [Place(None, frozenset(range(len(target))) - varying)]


def transpose(equation: Any, places: list[Place], size: int) -> list[Place]:
    return [transposed(places[0], equation.params["permutation"])]


def transposed(place: Place, order: Sequence[int]) -> Place:
    order = [int(d) for d in order]
    if place.axis is None or place.axis == INSIDE_KEY:
        return place._replace(constant=frozenset(order.index(d) for d in place.constant))
    return Place(order.index(place.axis))


def reshape(equation: Any, places: list[Place], size: int) -> list[Place]:
    source, target = shape_of(equation.invars[0]), shape_of(equation.outvars[0])
    place, order = places[0], equation.params.get("dimensions")
    if order is not None:  # it transposes first
        source, place = tuple(source[d] for d in order), transposed(place, order)
    if place.axis is None:
        kept = [d for d in range(len(source)) if source[d] != 1]
        new = [d for d in range(len(target)) if target[d] != 1]
        if [source[d] for d in kept] != [target[d] for d in new]:
            return [NOWHERE]
        return [Place(None, frozenset(b for a, b in zip(kept, new) if a in place.constant))]
    if place.axis == INSIDE_KEY:
        return [place]
    # What lies before the samples' axis must stay before it. Behind that, each sample is one run of numbers, so an
    # axis whose length is a multiple of B cuts no row out of two samples.
    before = math.prod(source[: place.axis])
    for axis, length in enumerate(target):
        if math.prod(target[:axis]) == before and length % size == 0 and length > 0:
            return [Place(axis)]
    raise Mixing


def without(removed: Sequence[int], place: Place) -> Place:
    """Returns the place of a value from which axes were removed."""
    gone = {int(d) for d in removed}
    if place.axis in gone:
        raise Mixing
    if place.axis is None or place.axis == INSIDE_KEY:
        return Place(place.axis, frozenset(d - sum(g < d for g in gone) for d in place.constant - gone))
    return Place(place.axis - sum(g < place.axis for g in gone))


def removes(parameter: str) -> Rule:
    """The rule of operations that remove axes: reductions, squeeze, argmax."""

    def rule(equation: Any, places: list[Place], size: int) -> list[Place]:
        axes = equation.params[parameter]
        axes = axes if isinstance(axes, Sequence) else (axes,)
        if len(places) == 1:
            return [without(axes, places[0])]
        axis = common(equation.invars, places, [place.axis for place in places])  # a reduction by a function
        return [without(axes, Place(axis))] * len(equation.outvars)

    return rule


def along(parameter: str) -> Rule:
    """The rule of operations that mix numbers along an axis: cumulative sums, sorting, joining, reversal."""

    def rule(equation: Any, places: list[Place], size: int) -> list[Place]:
        axes = equation.params[parameter]
        axes = axes if isinstance(axes, Sequence) else (axes,)
        axis = common(equation.invars, places, [place.axis for place in places])
        if axis in {int(d) for d in axes}:
            raise Mixing
        return [Place(axis)] * len(equation.outvars)

    return rule


def stack(equation: Any, places: list[Place], size: int) -> list[Place]:
    axis, new = common(equation.invars, places, [place.axis for place in places]), equation.params["axis"]
    return [Place(axis + 1 if axis is not None and axis >= new else axis)]


def unstack(equation: Any, places: list[Place], size: int) -> list[Place]:
    return [without([equation.params["axis"]], places[0])] * len(equation.outvars)


def split(equation: Any, places: list[Place], size: int) -> list[Place]:
    if places[0].axis == equation.params["axis"]:
        raise Mixing
    return places * len(equation.outvars)


def slicing(equation: Any, places: list[Place], size: int) -> list[Place]:
    """`slice` and `dynamic_slice`."""
    axis = places[0].axis
    if any(place.axis is not None for place in places[1:]):
        raise Mixing
    if axis is None:
        return [Place(None, places[0].constant)]
    if axis != INSIDE_KEY and shape_of(equation.invars[0])[axis] != shape_of(equation.outvars[0])[axis]:
        raise Mixing
    return [Place(axis)]


def update_slice(equation: Any, places: list[Place], size: int) -> list[Place]:
    axis = common(equation.invars[:2], places[:2], [place.axis for place in places[:2]])
    if any(place.axis is not None for place in places[2:]):
        raise Mixing
    if axis is not None and shape_of(equation.invars[0])[axis] != shape_of(equation.invars[1])[axis]:
        raise Mixing
    return [Place(axis)]


def pad(equation: Any, places: list[Place], size: int) -> list[Place]:
    axis = places[0].axis
    unpadded = {d for d, config in enumerate(equation.params["padding_config"]) if tuple(config) == (0, 0, 0)}
    if places[1].axis is not None or (axis is not None and axis not in unpadded):
        raise Mixing
    return [Place(axis, frozenset() if axis is not None else places[0].constant & unpadded)]


def tile(equation: Any, places: list[Place], size: int) -> list[Place]:
    axis = places[0].axis
    if axis is not None and (axis == INSIDE_KEY or equation.params["reps"][axis] != 1):
        raise Mixing
    return [Place(axis)]


def iota(equation: Any, places: list[Place], size: int) -> list[Place]:
    return [Place(None, frozenset(range(len(equation.params["shape"]))) - {equation.params["dimension"]})]


def bitcast(equation: Any, places: list[Place], size: int) -> list[Place]:
    """A cast to a type of another width adds or removes the last axis."""
    if places[0].axis is not None and places[0].axis >= len(shape_of(equation.outvars[0])):
        raise Mixing
    return [Place(places[0].axis)]
