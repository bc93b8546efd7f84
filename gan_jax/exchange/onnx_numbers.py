"""Operations of a flat program that compute each number by itself, in ONNX."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn

from .onnx_graph import Graph, Tensor, constant, symbolic

_SAME = {  # the name in JAX and in ONNX
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "add": "Add", "add_any": "Add", "and": "And", "asin": "Asin",
    "asinh": "Asinh", "atan": "Atan", "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "div": "Div",
    "eq": "Equal", "erf": "Erf", "exp": "Exp", "floor": "Floor", "ge": "GreaterOrEqual", "gt": "Greater",
    "le": "LessOrEqual", "log": "Log", "logistic": "Sigmoid", "lt": "Less", "max": "Max", "min": "Min",
    "mul": "Mul", "neg": "Neg", "not": "Not", "or": "Or", "pow": "Pow", "sign": "Sign", "sin": "Sin",
    "sinh": "Sinh", "sqrt": "Sqrt", "sub": "Sub", "tan": "Tan", "tanh": "Tanh", "xor": "Xor",
}  # fmt: skip
_LOGICAL = {"And", "Not", "Or", "Xor"}  # of truth values; integers have operations of their own


def aval(variable: Any) -> Any:
    """Returns shape and type of a variable of a program."""
    return variable.aval


def dtype_of(dtype: Any) -> np.dtype:
    """Returns the type that stands for a type of JAX: float32 for bfloat16, which few runtimes compute in."""
    return np.dtype(np.float32) if dtype == jnp.bfloat16 else np.dtype(dtype)


def compute(equation: JaxprEqn, given: list[Tensor], shapes: list[tuple]) -> list[Any]:
    """Returns what an operation computes from constants, broadcast to these shapes."""
    rows = [np.broadcast_to(np.asarray(tensor.source), shape) for tensor, shape in zip(given, shapes)]
    arrays = [jnp.asarray(row, aval(variable).dtype) for row, variable in zip(rows, equation.invars)]
    out = equation.primitive.bind(*arrays, **equation.params)
    return out if equation.primitive.multiple_results else [out]


def by_number(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    """Adds an operation of `BY_NUMBER`. What depends on constants alone is computed, and stays small."""
    out = aval(equation.outvars[0])
    shape, dtype = tuple(out.shape), dtype_of(out.dtype)
    stored = _together([tensor.stored for tensor in given])
    if all(tensor.is_constant for tensor in given):
        return constant(compute(equation, given, [stored] * len(given))[0], shape)
    names = [graph.name(tensor) for tensor in given]
    kind = _SAME.get(equation.primitive.name)
    if kind in _LOGICAL and dtype != np.bool_:
        kind = f"Bitwise{kind}"
    source = graph.node(kind, *names) if kind else _BY_NUMBER[equation.primitive.name](graph, equation, names)
    return Tensor(source, shape, stored, dtype)


def _together(shapes: Sequence[tuple]) -> tuple:
    """Returns the shape that ONNX broadcasts shapes to."""
    rank = max(len(shape) for shape in shapes)
    columns = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes))
    return tuple(next((n for n in column if symbolic(n) or n != 1), 1) for column in columns)


def _number(graph: Graph, equation: JaxprEqn, value: float) -> str:
    return graph.name(np.asarray(value, dtype_of(aval(equation.outvars[0]).dtype)))


def _power(graph: Graph, equation: JaxprEqn, names: list[str]) -> str:
    y = equation.params["y"]
    return graph.node("Mul", *names * 2) if y == 2 else graph.node("Pow", *names, _number(graph, equation, y))


def _cast(graph: Graph, equation: JaxprEqn, names: list[str]) -> str:
    import onnx

    wanted = dtype_of(equation.params["new_dtype"])
    return graph.node("Cast", *names, to=onnx.helper.np_dtype_to_tensor_dtype(wanted))


def _select(graph: Graph, equation: JaxprEqn, names: list[str]) -> str:
    if len(names) != 3 or aval(equation.invars[0]).dtype != np.bool_:
        raise NotImplementedError("a choice among more than two")
    return graph.node("Where", names[0], names[2], names[1])


def _remainder(graph: Graph, equation: JaxprEqn, names: list[str]) -> str:
    return graph.node("Mod", *names, fmod=1)


_BY_NUMBER: dict[str, Callable[[Graph, JaxprEqn, list[str]], str]] = {
    "clamp": lambda g, e, n: g.node("Max", g.node("Min", n[1], n[2]), n[0]),
    "convert_element_type": _cast,
    "erfc": lambda g, e, n: g.node("Sub", _number(g, e, 1.0), g.node("Erf", *n)),
    "exp2": lambda g, e, n: g.node("Pow", _number(g, e, 2.0), *n),
    "expm1": lambda g, e, n: g.node("Sub", g.node("Exp", *n), _number(g, e, 1.0)),
    "integer_pow": _power,
    "log1p": lambda g, e, n: g.node("Log", g.node("Add", *n, _number(g, e, 1.0))),
    "ne": lambda g, e, n: g.node("Not", g.node("Equal", *n)),
    "rem": _remainder,
    "rsqrt": lambda g, e, n: g.node("Reciprocal", g.node("Sqrt", *n)),
    "select_n": _select,
    "square": lambda g, e, n: g.node("Mul", *n * 2),
}

BY_NUMBER = {*_SAME, *_BY_NUMBER}
