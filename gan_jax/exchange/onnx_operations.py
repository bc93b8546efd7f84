"""What each operation of a flat program is in ONNX: one function `(graph, equation, tensors) -> tensor` each."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn
from jax.lax import GatherScatterMode

from .onnx_graph import Graph, Tensor, constant, symbolic
from .onnx_numbers import BY_NUMBER, aval, by_number, compute, dtype_of
from .onnx_products import convolution, dot_general

_IDENTITY = ("copy", "copy_p", "stop_gradient", "optimization_barrier", "reduce_precision", "sharding_constraint")
_REDUCTIONS = {
    "reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin", "reduce_prod": "ReduceProd",
}  # fmt: skip


def convert(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> list[Tensor]:
    """Adds one operation to the graph, or computes it if it depends on constants alone.

    Raises:
        NotImplementedError: ONNX has nothing like it, or nothing that is written here.
    """
    name = equation.primitive.name
    shapes = [tuple(aval(variable).shape) for variable in equation.outvars]
    if name in _IDENTITY:
        return given
    if all(tensor.is_constant for tensor in given) and not any(symbolic(n) for shape in shapes for n in shape):
        return [constant(x) for x in compute(equation, given, [tensor.shape for tensor in given])]
    if name in BY_NUMBER:
        return [by_number(graph, equation, given)]
    if name == "split":
        return _split(graph, equation, given)
    if name not in _OPERATIONS:
        raise NotImplementedError(f"the operation {name}")
    return [_OPERATIONS[name](graph, equation, given)]


def _shape(equation: JaxprEqn) -> tuple:
    return tuple(aval(equation.outvars[0]).shape)


def _broadcast(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    shape, source = _shape(equation), graph.full_rank(given[0])
    stored = [1] * len(shape)
    for axis, size in zip(equation.params["broadcast_dimensions"], source.stored):
        stored[axis] = size
    return graph.restored(source, tuple(stored))._replace(shape=shape)


def _reshape(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    return graph.reshape(given[0], _shape(equation))


def _squeeze(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    source, gone = graph.full_rank(given[0]), equation.params["dimensions"]
    stored = tuple(size for axis, size in enumerate(source.stored) if axis not in gone)
    return graph.restored(source, stored)._replace(shape=_shape(equation))


def _concatenate(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    names = [graph.name(graph.whole(tensor)) for tensor in given]
    source = graph.node("Concat", *names, axis=equation.params["dimension"])
    return Tensor(source, _shape(equation), _shape(equation), given[0].dtype)


def _stack(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    axis, shape = equation.params["axis"], _shape(equation)
    one = (*shape[:axis], 1, *shape[axis + 1 :])
    names = [graph.name(graph.reshape(tensor, one)) for tensor in given]
    return Tensor(graph.node("Concat", *names, axis=axis), shape, shape, given[0].dtype)


def _tile(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    source = graph.whole(given[0])
    times = [1 if new == old else new // old for new, old in zip(_shape(equation), source.shape, strict=True)]
    if any(map(symbolic, times)):
        raise NotImplementedError("a tile of the batch size")
    name = graph.node("Tile", graph.name(source), graph.integers(times))
    return Tensor(name, _shape(equation), _shape(equation), source.dtype)


def _pad(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    if not isinstance(given[1].source, np.ndarray):
        raise NotImplementedError("padding with a computed number")
    return graph.pad(given[0], equation.params["padding_config"], given[1].source, _shape(equation))


def _slice(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    p, shape = equation.params, given[0].shape
    steps = p["strides"] or (1,) * len(shape)
    cuts = enumerate(zip(p["start_indices"], p["limit_indices"], steps, strict=True))
    axes: dict[int, tuple[Any, Any, int]] = {
        axis: cut for axis, cut in cuts if not (cut[0] == 0 and cut[1] == shape[axis] and cut[2] == 1)
    }
    return graph.slice(given[0], axes, _shape(equation))


def _dynamic_slice(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    places = [int(start.source) if isinstance(start.source, np.ndarray) else None for start in given[1:]]
    return _part(graph, equation, given[0], dict(enumerate(places)))


def _part(graph: Graph, equation: JaxprEqn, source: Tensor, places: dict[int, int | None]) -> Tensor:
    """The part of a tensor that begins at these places along some axes; JAX moves it where it would leave it."""
    sizes = equation.params["slice_sizes"]
    axes: dict[int, tuple[Any, Any, int]] = {}
    for axis, place in places.items():
        if sizes[axis] == source.shape[axis]:
            continue
        if place is None or symbolic(source.shape[axis]):
            raise NotImplementedError("a part from a computed place")
        first = min(max(place, 0), source.shape[axis] - sizes[axis])
        axes[axis] = (first, first + sizes[axis], 1)
    return graph.reshape(graph.slice(source, axes, tuple(sizes)), _shape(equation))


def _split(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> list[Tensor]:
    axis, start, parts = equation.params["axis"], 0, []
    for size, variable in zip(equation.params["sizes"], equation.outvars):
        parts.append(graph.slice(given[0], {axis: (start, start + size, 1)}, tuple(aval(variable).shape)))
        start += size
    return parts


def _reduce(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    axes = graph.integers(equation.params["axes"])
    kind = _REDUCTIONS[equation.primitive.name]
    source = graph.node(kind, graph.name(graph.whole(given[0])), axes, keepdims=0)
    return Tensor(source, _shape(equation), _shape(equation), given[0].dtype)


def _argmax(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    import onnx

    (axis,), kind = equation.params["axes"], {"argmax": "ArgMax", "argmin": "ArgMin"}[equation.primitive.name]
    dtype = dtype_of(equation.params["index_dtype"])
    found = graph.node(kind, graph.name(graph.whole(given[0])), axis=axis, keepdims=0)
    source = graph.node("Cast", found, to=onnx.helper.np_dtype_to_tensor_dtype(dtype))
    return Tensor(source, _shape(equation), _shape(equation), dtype)


def _iota(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    shape, axis = _shape(equation), equation.params["dimension"]
    if symbolic(shape[axis]):
        raise NotImplementedError("numbers from 0 to the batch size")
    stored = tuple(size if at == axis else 1 for at, size in enumerate(shape))
    return constant(np.arange(shape[axis], dtype=dtype_of(equation.params["dtype"])).reshape(stored), shape)


def _gather(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    """Rows of a table by their numbers along one axis, or a part at one known place."""
    p, numbers = equation.params, equation.params["dimension_numbers"]
    if isinstance(given[1].source, np.ndarray) and len(given[1].shape) == 1:
        places = np.broadcast_to(given[1].source, given[1].shape).tolist()
        return _part(graph, equation, given[0], dict(zip(numbers.start_index_map, places)))
    table, index = graph.whole(given[0]), graph.whole(given[1])
    [axis] = numbers.start_index_map if len(numbers.start_index_map) == 1 else [-1]
    others = tuple(size for at, size in enumerate(p["slice_sizes"]) if at != axis)
    along = table.shape[:axis] + table.shape[axis + 1 :]
    if numbers.collapsed_slice_dims != (axis,) or numbers.operand_batching_dims or others != along:
        raise NotImplementedError("a gather that does not take rows along one axis")
    index = graph.reshape(index, index.shape[:-1])
    name = graph.name(index)
    if p["mode"] == GatherScatterMode.CLIP:
        low, high = (graph.name(np.asarray(n, index.dtype)) for n in (0, table.shape[axis] - 1))
        name = graph.node("Max", graph.node("Min", name, high), low)
    source = graph.node("Gather", graph.name(table), name, axis=axis)
    shape = (*table.shape[:axis], *index.shape, *table.shape[axis + 1 :])
    rank, of_index = len(shape), list(range(axis, axis + len(index.shape)))
    of_table = [at for at in range(rank) if at not in of_index]
    order = [of_table.pop(0) if at in numbers.offset_dims else of_index.pop(0) for at in range(rank)]
    return graph.transpose(Tensor(source, shape, shape, table.dtype), order)


_OPERATIONS: dict[str, Callable[[Graph, JaxprEqn, list[Tensor]], Tensor]] = {
    "argmax": _argmax,
    "argmin": _argmax,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": convolution,
    "dot_general": dot_general,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "iota": _iota,
    "pad": _pad,
    "reshape": _reshape,
    "rev": lambda g, e, t: g.flip(t[0], e.params["dimensions"]),
    "slice": _slice,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": lambda g, e, t: g.transpose(t[0], e.params["permutation"]),
    **dict.fromkeys(_REDUCTIONS, _reduce),
}
