"""Rules of matrix products, convolutions, windows and what acts on the last axes."""

from collections.abc import Callable
from typing import Any

from .place import NOWHERE, Mixing, Place, Rule, common, is_constant, shape_of


def dot_general(equation: Any, places: list[Place], size: int) -> list[Place]:
    contracted, batch = equation.params["dimension_numbers"]
    origins = [[(0, left), (1, right)] for left, right in zip(*batch)]  # of each axis of the product
    for side, variable in enumerate(equation.invars):
        free = [d for d in range(len(shape_of(variable))) if d not in (*contracted[side], *batch[side])]
        origins += [[(side, d)] for d in free]
    if all(place.axis is None for place in places):
        same = [i for i, origin in enumerate(origins) if _is_constant(equation, places, origin)]
        return [Place(None, frozenset(same))]
    samples = [(side, place.axis) for side, place in enumerate(places) if place.axis is not None]
    found = [i for i, origin in enumerate(origins) if set(samples) <= set(origin)]
    if not found:  # they are summed over, or meet other samples
        raise Mixing
    (axis,) = found
    if not _is_constant(equation, places, [one for one in origins[axis] if one not in samples]):
        raise Mixing
    return [Place(axis)]


def _is_constant(equation: Any, places: list[Place], axes: list[tuple[int, int]]) -> bool:
    return all(is_constant(equation.invars[side], places[side], d) for side, d in axes)


def convolution(equation: Any, places: list[Place], size: int) -> list[Place]:
    image, kernel = places
    numbers, groups = equation.params["dimension_numbers"], equation.params["feature_group_count"]
    if image.axis is None and kernel.axis is None:
        return [NOWHERE]
    if equation.params["batch_group_count"] != 1:
        raise Mixing
    if image.axis == numbers.lhs_spec[0] and kernel.axis is None:
        return [Place(numbers.out_spec[0])]
    # `vmap` with a kernel for each sample: a group of channels, or several, for each sample.
    if image.axis == numbers.lhs_spec[1] and kernel.axis == numbers.rhs_spec[0] and groups % size == 0:
        return [Place(numbers.out_spec[1])]
    raise Mixing


def with_samples_in_front(*operands: int) -> Rule:
    """The rule of operations on maps whose samples are on axis 0, and that keep them apart there."""

    def rule(equation: Any, places: list[Place], size: int) -> list[Place]:
        with_samples = {i for i, place in enumerate(places) if place.axis is not None}
        if any(i not in operands or places[i].axis != 0 for i in with_samples):
            raise Mixing
        axis = common([equation.invars[i] for i in operands], [places[i] for i in operands], [
            places[i].axis for i in operands
        ])  # fmt: skip
        return [Place(axis)] * len(equation.outvars)

    return rule


def window(equation: Any, places: list[Place], size: int) -> list[Place]:
    """Reductions over windows."""
    axis = common(equation.invars, places, [place.axis for place in places])
    if axis is not None:
        parameters = equation.params
        ones = ("window_dimensions", "window_strides", "base_dilation", "window_dilation")
        if any(parameters[name][axis] != 1 for name in ones if parameters.get(name) is not None):
            raise Mixing
        if tuple(parameters["padding"][axis]) != (0, 0):
            raise Mixing
    return [Place(axis)] * len(equation.outvars)


def last_axes(count: Callable[[Any], int]) -> Rule:
    """The rule of operations that act on the last axes: Fourier transforms, decompositions of matrices, top k."""

    def rule(equation: Any, places: list[Place], size: int) -> list[Place]:
        axis = common(equation.invars, places, [place.axis for place in places])
        ranks = [len(shape_of(v)) for v in equation.invars if shape_of(v)]
        if axis is not None and not 0 <= axis < min(ranks) - count(equation):
            raise Mixing
        return [Place(axis)] * len(equation.outvars)

    return rule
