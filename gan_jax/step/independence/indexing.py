"""Rules of reading and writing by indices."""

from typing import Any

from .place import INSIDE_KEY, NOWHERE, Mixing, Place, is_constant, shape_of


def gather(equation: Any, places: list[Place], size: int) -> list[Place]:
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    operand, indices = equation.invars
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = [d for d in range(len(shape_of(operand))) if d not in dropped]
    rank = len(shape_of(equation.outvars[0]))
    positions = [d for d in range(rank) if d not in numbers.offset_dims]  # of the axes of the indices
    pairs = dict(zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims))
    axis, of_indices = places[0].axis, places[1].axis
    if axis is None and of_indices is None:
        return [NOWHERE]
    if axis == INSIDE_KEY and of_indices is None:  # one of the keys that `split` made
        return [Place(axis)]
    if axis is None:
        for of_operand, other in pairs.items():
            if other == of_indices and not is_constant(operand, places[0], of_operand):
                raise Mixing
        if of_indices is None or of_indices not in range(len(positions)):
            raise Mixing
        return [Place(positions[of_indices])]
    if axis is not None and axis in pairs:
        other = pairs[axis]
        if of_indices != other and (of_indices is not None or not is_constant(indices, places[1], other)):
            raise Mixing
        return [Place(positions[other])]
    whole = axis in kept and sizes[axis] == shape_of(operand)[axis] and axis not in numbers.start_index_map
    if of_indices is not None or not whole:
        raise Mixing
    return [Place(numbers.offset_dims[kept.index(axis)])]


def scatter(equation: Any, places: list[Place], size: int) -> list[Place]:
    numbers = equation.params["dimension_numbers"]
    operand, _, updates = equation.invars
    shape, rank = shape_of(operand), len(shape_of(updates))
    dropped = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    window = dict(zip(numbers.update_window_dims, (d for d in range(len(shape)) if d not in dropped)))
    batch = dict(zip(numbers.scatter_indices_batching_dims, numbers.operand_batching_dims))
    scattered = [d for d in range(rank) if d not in numbers.update_window_dims]  # the axes of the indices
    to_operand = [{d: d for d in range(len(shape))}, batch, window | {
        scattered[of_indices]: of_operand for of_indices, of_operand in batch.items()
    }]  # fmt: skip
    found = {axes.get(place.axis) for axes, place in zip(to_operand, places) if place.axis is not None}
    if not found:
        return [NOWHERE]
    if len(found) > 1 or None in found:
        raise Mixing
    (axis,) = found
    for variable, place, axes in zip(equation.invars, places, to_operand):
        here = [d for d, of_operand in axes.items() if of_operand == axis]
        if place.axis is None and not all(is_constant(variable, place, d) for d in here):
            raise Mixing
    if axis in window.values():  # each row of a window belongs to the same row of the operand
        (here,) = (d for d, of_operand in window.items() if of_operand == axis)
        if shape_of(updates)[here] != shape[axis] or axis in numbers.scatter_dims_to_operand_dims:
            raise Mixing
    elif axis not in numbers.operand_batching_dims:
        raise Mixing
    return [Place(axis)]
