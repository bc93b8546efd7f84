"""Refuses a step over devices whose new state would not be the same on every device.

A mapped step returns the first device's state as that of all. What is computed from a device's part of the batch,
and not reduced over the devices, would be lost there without a word. The traced step tells: a value may differ
between devices if it depends on the batch or on the number of the device, and on the way there is no sum, mean,
maximum or gathering over the device axis.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

from ..errors import NeedsWholeBatch
from ..pytree import named_leaves
from ..step import StepFunction
from ..step.devices import axis_names
from ..step.independence import carry_of_scan
from ..types import AxisName, PyTree

# Primitives, by name, that make a value the same on all devices of their axis, and those that do not change it.
_EQUALISE = {"psum", "psum_invariant", "pmax", "pmin", "all_gather", "all_gather_invariant"}
_KEEP = {"pvary", "pcast"}


def replicated(step: StepFunction, axis_name: AxisName, axes: PyTree = None) -> StepFunction:
    """Returns `step`, which raises NeedsWholeBatch when it is traced if its results may differ between devices.

    Args:
        step: `(state, batch, *shared) -> (state, metrics)`, mapped over `axis_name`.
        axis_name: the device axis. The batch is split over it; `shared` is whole on every device.
        axes: for each leaf of the state, the axis along which it is split, or -1. None: all are whole.
    """

    def checked(state: PyTree, batch: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
        arguments = (state, batch, *shared)
        traced, shapes = jax.make_jaxpr(step, return_shape=True)(*arguments)
        split = [axis >= 0 for axis in jax.tree.leaves(axes)] or [False] * len(jax.tree.leaves(state))
        varies = [*split, *(True for _ in jax.tree.leaves(batch)), *(False for _ in jax.tree.leaves(shared))]
        flags = may_differ(traced, varies, axis_name)
        flags = [flag and not allowed for flag, allowed in zip(flags, [*split, *[False] * len(flags)])]
        names = [name for tree in shapes for name in named_leaves(tree)]
        if wrong := [name for name, flag in zip(names, flags, strict=True) if flag]:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise NeedsWholeBatch(
                f"{wrong[0]}{more} would differ between devices, since each computes it from its own part of the "
                f"batch: reduce it over the device axis, as nn.BatchNorm(axis_name=axis_name) does "
                "(a network, loss or penalty that names the keyword axis_name gets it), or use shard_step"
            )
        # The traced step is used, so that it is not traced again.
        return jax.tree.unflatten(jax.tree.structure(shapes), jaxpr_as_fun(traced)(*jax.tree.leaves(arguments)))

    return checked


def may_differ(traced: ClosedJaxpr, varies: Sequence[bool], axis_name: AxisName) -> list[bool]:
    """Returns, for each output of a traced function, whether it may differ between the devices of `axis_name`.

    Args:
        traced: the function.
        varies: for each input, whether it differs between devices.
        axis_name: the device axis.
    """
    return _Walk(axis_name).outputs(traced, varies)


class _Walk:
    """Passes through a program which values may differ between the devices of one axis."""

    def __init__(self, axis_name: AxisName):
        self._axes = set(axis_names(axis_name))
        self._known: dict[
            tuple[int, tuple[bool, ...]], list[bool]
        ] = {}  # a layer is traced once, and called often

    def outputs(self, program: ClosedJaxpr | Jaxpr, varies: Sequence[bool]) -> list[bool]:
        jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
        key = (id(jaxpr), tuple(varies))
        if key not in self._known:
            values = dict(zip(jaxpr.invars, varies, strict=True))

            def read(variables: Sequence[Any]) -> list[bool]:
                return [not isinstance(v, Literal) and values.get(v, False) for v in variables]

            for eqn in jaxpr.eqns:
                values.update(zip(eqn.outvars, self._equation(eqn, read(eqn.invars)), strict=True))
            self._known[key] = read(jaxpr.outvars)
        return self._known[key]

    def _equation(self, eqn: JaxprEqn, inputs: list[bool]) -> list[bool]:
        name, params, count = eqn.primitive.name, eqn.params, len(eqn.outvars)
        axes = params.get("axes", params.get("axis_name", ()))
        over = self._axes & {axis for axis in axis_names(axes) if isinstance(axis, str)}
        if over and name not in _KEEP:
            equalises = name in _EQUALISE and over == self._axes and params.get("axis_index_groups") is None
            return [not equalises] * count
        if name == "scan":
            return self._loop(params["jaxpr"], inputs, carry_of_scan(eqn))
        if name == "while":
            return self._while(eqn, inputs)
        if name == "cond":
            branches = [self.outputs(branch, inputs[1:]) for branch in params["branches"]]
            return [inputs[0] or any(flags) for flags in zip(*branches, strict=True)]
        for inner in params.values():  # a call of another program
            if isinstance(inner, ClosedJaxpr | Jaxpr):
                body = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
                if (len(body.invars), len(body.outvars)) == (len(inputs), count):
                    return self.outputs(inner, inputs)
        return [any(inputs)] * count

    def _loop(self, body: ClosedJaxpr, inputs: list[bool], carried: tuple[int, int]) -> list[bool]:
        """Repeats the body until no further value of the carry may differ."""
        first, end = carried
        while True:
            results = self.outputs(body, inputs)
            grown = [old or new for old, new in zip(inputs[first:end], results, strict=False)]
            if grown == inputs[first:end]:
                return [*grown, *results[end - first :]]
            inputs = [*inputs[:first], *grown, *inputs[end:]]

    def _while(self, eqn: JaxprEqn, inputs: list[bool]) -> list[bool]:
        for_test, for_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        constants, rest = inputs[:for_test], inputs[for_test:]
        carry = self._loop(eqn.params["body_jaxpr"], rest, (for_body, len(rest)))
        (ends,) = self.outputs(eqn.params["cond_jaxpr"], [*constants, *carry])
        return [True] * len(carry) if ends else carry
