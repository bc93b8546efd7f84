"""Counts the floating-point operations of a traced function: those of its matrix products and convolutions."""

import math
from collections.abc import Callable, Iterator

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jax.interpreters.partial_eval import dce_jaxpr

from .arithmetic import Window, convolution_flops, matmul_flops


class UncountedError(ValueError):
    """The number of operations depends on data."""


def traced_flops(traced: ClosedJaxpr | Jaxpr) -> float:
    """Returns the FLOPs of a traced function, over all devices.

    What no result depends on is not counted, since no compiler runs it. The body of a scan counts as often as it
    runs. Of the branches of a `cond` the most expensive one counts.

    Raises:
        UncountedError: a `while` whose rounds depend on data contains a matrix product or a convolution.
    """
    jaxpr = traced.jaxpr if isinstance(traced, ClosedJaxpr) else traced
    needed, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _jaxpr(needed)


def _jaxpr(traced: ClosedJaxpr | Jaxpr) -> float:
    jaxpr = traced.jaxpr if isinstance(traced, ClosedJaxpr) else traced
    return sum(map(_equation, jaxpr.eqns))


def _equation(equation: JaxprEqn) -> float:
    name, params = equation.primitive.name, equation.params
    if (rule := RULES.get(name)) is not None:
        return rule(equation)
    if name == "cond":
        return max(map(_jaxpr, params["branches"]))
    inner = sum(map(_jaxpr, _inner(params)))
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
        inputs, outputs = a[3] // geometry.groups, b[3]
    else:
        inputs, outputs = b[2:]
    axes = zip(geometry.size, geometry.output, geometry.kernel, geometry.padding)
    sizes = tuple((size, out, Window(kernel, geometry.stride, *pad)) for size, out, kernel, pad in axes)
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
