"""A network as one flat list of JAX's own operations, with its normal noise as inputs.

Calls are inlined, derivatives are left out, and operations of ours become XLA's (`ops.backend`, the row of an
unknown platform). Random bits differ between libraries, so each draw of normal noise becomes an input.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from ..ops import compiler_options, primitives, resample
from ..types import PyTree
from .exported import Network

_CALLS = {  # these run the program in one of their parameters
    "jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call",
    "custom_vjp_call",
}  # fmt: skip
_PLATFORM = "other"  # whose formulations are XLA's own operations
_NORMAL = "_normal"  # the name of the function inside `jax.random.normal`

Draw = Callable[[JaxprEqn, list[Any]], list[Any]]


class Plain(NamedTuple):
    """A flat program: `(inputs..., labels, noise...)` to one output.

    Attributes:
        program: without calls.
        noise: the shape of each draw of normal noise.
    """

    program: ClosedJaxpr
    noise: tuple[jax.ShapeDtypeStruct, ...]


def flatten(network: Network, size: Any) -> Plain:
    """Returns a network as a flat program for a batch of `size`, a number or a symbol."""
    inputs, labels, seed = example_arguments(network, size)
    closed = jax.make_jaxpr(network.function)(inputs, labels, seed)
    leaves = [*jax.tree.leaves(inputs), *jax.tree.leaves(labels)]
    noise: list[jax.ShapeDtypeStruct] = []

    def find(equation: JaxprEqn, values: list[Any]) -> list[Any]:
        drawn: Any = equation.outvars[0].aval
        noise.append(jax.ShapeDtypeStruct(drawn.shape, drawn.dtype))
        return [jnp.zeros(drawn.shape, drawn.dtype)]

    def run(draw: Draw, *values: Any) -> Any:
        return _evaluate(closed.jaxpr, closed.consts, [*values, jnp.uint32(0)], draw)[0]

    jax.eval_shape(lambda *values: run(find, *values), *leaves)

    def with_noise(*values: Any) -> Any:
        given = iter(values[len(leaves) :])
        return run(lambda equation, _: [next(given)], *values[: len(leaves)])

    return Plain(jax.make_jaxpr(with_noise)(*leaves, *noise), tuple(noise))


def make_noise(network: Network, size: int) -> Callable[[PyTree, Any, Any], list[jax.Array]]:
    """Builds the function of inputs, labels and seed to a network's noise: `Plain.noise`."""
    closed = jax.make_jaxpr(network.function)(*example_arguments(network, size))

    def run(*arguments: PyTree) -> list[jax.Array]:
        drawn: list[jax.Array] = []

        def record(equation: JaxprEqn, values: list[Any]) -> list[Any]:
            inner = equation.params["jaxpr"]
            out = _evaluate(inner.jaxpr, inner.consts, values, record)
            drawn.extend(out)
            return out

        _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(arguments), record)
        return drawn

    return jax.jit(run, compiler_options=compiler_options(once=True))


def example_arguments(network: Network, size: Any) -> tuple[PyTree, jax.ShapeDtypeStruct | None, Any]:
    """Returns the shapes of the inputs, the labels and the seed of a network for a batch of `size`."""
    inputs = jax.tree.map(lambda one: jax.ShapeDtypeStruct((size, *one.shape), one.dtype), network.inputs)
    labels = jax.ShapeDtypeStruct((size,), jnp.int32) if network.labels else None
    return inputs, labels, jax.ShapeDtypeStruct((), jnp.uint32)


def _evaluate(program: Jaxpr, constants: Sequence[Any], values: Sequence[Any], draw: Draw) -> list[Any]:
    """Runs a program with plain operations; `draw` makes its normal noise."""
    known: dict[Any, Any] = dict(zip([*program.constvars, *program.invars], [*constants, *values], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else known[atom]

    for equation in program.eqns:
        given = [read(atom) for atom in equation.invars]
        name, parameters = equation.primitive.name, equation.params
        if name in ("conv_forward", "conv_transpose", "conv_kernel"):
            out = [primitives.compute(name, _PLATFORM, *given, **parameters)]
        elif name == "resample":
            out = [resample.compute(_PLATFORM, *given, **parameters)]
        elif name in _CALLS and parameters.get("name") == _NORMAL:
            out = draw(equation, given)
        elif name in _CALLS:
            inner = parameters["jaxpr"] if "jaxpr" in parameters else parameters["call_jaxpr"]
            whole = isinstance(inner, ClosedJaxpr)
            out = _evaluate(inner.jaxpr if whole else inner, inner.consts if whole else (), given, draw)
        else:
            out = equation.primitive.bind(*given, **parameters)
            out = out if equation.primitive.multiple_results else [out]
        known |= zip(equation.outvars, out)
    return [read(atom) for atom in program.outvars]
