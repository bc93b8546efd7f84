"""Counts the floating-point operations of a traced function: those of its matrix products and convolutions."""

import itertools
import math
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jax.interpreters.partial_eval import dce_jaxpr

from ..errors import UserError
from ..pytree import is_key
from .arithmetic import Window, convolution_flops, matmul_flops


class UncountedError(UserError, ValueError):
    """The number of operations depends on data."""


def traced_flops(traced: ClosedJaxpr | Jaxpr) -> float:
    """Returns the FLOPs of a traced function, over all devices.

    What no result depends on is not counted, and what is computed twice from the same values counts once: no
    compiler runs it. The body of a scan counts as often as it runs. Of the branches of a `cond` the most expensive
    one counts.

    Raises:
        UncountedError: a `while` whose rounds depend on data contains a matrix product or a convolution.
    """
    return _whole(traced)


def _whole(traced: ClosedJaxpr | Jaxpr) -> float:
    jaxpr = traced.jaxpr if isinstance(traced, ClosedJaxpr) else traced
    needed, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    count = _Count()
    inputs: list[Hashable] = [count.new() for _ in needed.invars]
    count.outputs(ClosedJaxpr(needed, traced.consts) if isinstance(traced, ClosedJaxpr) else needed, inputs)
    return count.flops


class _Count:
    """Adds up the FLOPs of different values. A value has a number, which equal computations share.

    Attributes:
        flops: so far.
    """

    def __init__(self) -> None:
        self.flops = 0.0
        self._numbers = itertools.count()
        self._known: dict[Hashable, list[Hashable]] = {}  # of an operation on such values: the values it gives

    def new(self) -> int:
        return next(self._numbers)

    def outputs(self, program: ClosedJaxpr | Jaxpr, inputs: list[Hashable]) -> list[Hashable]:
        """Counts a program of these values, and returns the values that it gives."""
        jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
        constants = program.consts if isinstance(program, ClosedJaxpr) else jaxpr.constvars
        values = dict(zip(jaxpr.constvars, map(_constant, constants), strict=True))
        values.update(zip(jaxpr.invars, inputs, strict=True))

        def read(variable: Any) -> Hashable:
            if isinstance(variable, Literal):
                return ("literal", str(variable.aval), str(variable.val))
            return values[variable]

        for equation in jaxpr.eqns:
            inputs = [read(variable) for variable in equation.invars]
            key = (equation.primitive.name, _frozen(equation.params), tuple(inputs))
            if key not in self._known:
                self._known[key] = self._equation(equation, inputs)
            values.update(zip(equation.outvars, self._known[key], strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _equation(self, equation: JaxprEqn, inputs: list[Hashable]) -> list[Hashable]:
        name, inner = equation.primitive.name, list(_inner(equation.params))
        if len(inner) == 1 and name not in _OTHER_BODIES:
            (called,) = inner
            jaxpr = called.jaxpr if isinstance(called, ClosedJaxpr) else called
            if (len(jaxpr.invars), len(jaxpr.outvars)) == (len(inputs), len(equation.outvars)):
                return self.outputs(called, inputs)
        self.flops += _equation(equation)
        return [self.new() for _ in equation.outvars]


_OTHER_BODIES = {
    "scan",
    "while",
    "cond",
    "shard_map",
    "xla_pmap",
}  # their body does not run once on their operands


def _constant(value: Any) -> Hashable:
    """Returns what equal constants share."""
    if isinstance(value, np.ndarray | jax.Array) and value.size < 2**20 and not is_key(value):
        return ("constant", str(value.dtype), value.shape, np.asarray(value).tobytes())
    return ("constant", id(value))


def _frozen(params: dict[str, Any]) -> Hashable:
    def frozen(value: Any) -> Hashable:
        try:
            hash(value)
        except TypeError:
            return id(value)
        return value

    return tuple((name, frozen(value)) for name, value in sorted(params.items()))


def _equation(equation: JaxprEqn) -> float:
    name, params = equation.primitive.name, equation.params
    if (rule := RULES.get(name)) is not None:
        return rule(equation)
    if name == "cond":
        return max(map(_whole, params["branches"]))
    inner = sum(map(_whole, _inner(params)))
    if name == "scan":
        return params["length"] * inner
    if name == "while" and inner:
        raise UncountedError("a while loop has products, and how often it runs depends on data: use lax.scan")
    if name == "shard_map":  # the body is that of one device
        axes = params.get("manual_axes") or params["mesh"].axis_names
        return inner * math.prod(dict(params["mesh"].shape)[axis] for axis in axes)
    if name == "xla_pmap":
        return inner * params["global_axis_size"]
    return inner


def _inner(params: dict) -> Iterator[ClosedJaxpr | Jaxpr]:
    """Yields the functions that an equation contains: of a jit, a checkpoint, a custom derivative, a loop."""
    for value in params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(part, (ClosedJaxpr, Jaxpr)):
                yield part


def _dot_general(equation: JaxprEqn) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    lhs, result = _shape(equation.invars[0]), _shape(equation.outvars[0])
    return matmul_flops(math.prod(result), math.prod(lhs[axis] for axis in contracted))


def _convolution(equation: JaxprEqn) -> float:
    params = equation.params
    image, kernel = map(_shape, equation.invars)
    output = _shape(equation.outvars[0])
    numbers = params["dimension_numbers"]
    axes = zip(
        numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:], params["window_strides"],
        params["padding"], params["lhs_dilation"], params["rhs_dilation"],
    )  # fmt: skip
    sizes = tuple(
        (image[i], output[o], Window(kernel[k], stride, pad[0], pad[1], lhs, rhs))
        for i, k, o, stride, pad, lhs, rhs in axes
    )
    outputs, inputs = (kernel[axis] for axis in numbers.rhs_spec[:2])
    batch = image[numbers.lhs_spec[0]] // params["batch_group_count"]
    return convolution_flops(batch, inputs, outputs, sizes)


def _bilinear(equation: JaxprEqn) -> float:
    """The convolutions of `gan_jax.ops`: all three have the operations of the forward convolution."""
    geometry = equation.params["geometry"]
    a, b = map(_shape, equation.invars)
    if equation.primitive.name == "conv_kernel":
        inputs, outputs = a[-1] // geometry.groups, b[-1]
    else:
        inputs, outputs = b[-2:]
    axes = zip(geometry.size, geometry.output, geometry.kernel, geometry.stride, geometry.padding)
    sizes = tuple((size, out, Window(kernel, stride, *pad)) for size, out, kernel, stride, pad in axes)
    return convolution_flops(a[0], inputs, outputs, sizes)


def _shape(variable: object) -> tuple[int, ...]:
    return variable.aval.shape  # type: ignore[attr-defined]


RULES: dict[str, Callable[[JaxprEqn], float]] = {
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "conv_forward": _bilinear,
    "conv_transpose": _bilinear,
    "conv_kernel": _bilinear,
}
"""The FLOPs of one equation, by the name of its primitive."""


def function_flops(function: Callable, *arguments: object) -> float:
    """Returns the FLOPs of a function of such arguments: arrays, or `jax.ShapeDtypeStruct`s."""
    return traced_flops(jax.make_jaxpr(function)(*arguments))
