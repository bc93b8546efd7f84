"""The walk through a jaxpr that follows the samples' axis through each operation."""

from collections.abc import Callable, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from .place import NOWHERE, Mixing, Place, common, is_constant, shape_of
from .rules import RULES

_CALLS = {  # operations that call another jaxpr with their own operands; it is one of the parameters below
    "jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2", "custom_jvp_call",
    "custom_vjp_call", "custom_vjp_call_jaxpr",
}  # fmt: skip
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def mixing_primitive(traced: ClosedJaxpr, axes: Sequence[int | None]) -> str | None:
    """Returns the name of the first operation that mixes samples, or may do so; None if samples stay apart.

    They stay apart if row i of each output depends on row i of those inputs that have samples, and not on i
    itself. An output may also not depend on samples at all. The answer is "output" if the samples of an output are
    not its first axis, if several rows belong to one sample, or if it has a row for each sample, but rows that
    differ and do not depend on samples.

    Args:
        traced: the program, such as `jax.make_jaxpr(network)(images)`.
        axes: the samples' axis of each input; None: the input has no samples.

    Raises:
        ValueError: `axes` does not fit the inputs, or these have different numbers of samples.
    """
    variables = traced.jaxpr.invars
    if len(axes) != len(variables):
        raise ValueError(f"the program has {len(variables)} inputs, but {len(axes)} axes are given")
    sizes = {shape_of(v)[axis] for v, axis in zip(variables, axes) if axis is not None}
    if not sizes:
        return None
    if len(sizes) > 1:
        raise ValueError(f"the inputs must have the same number of samples, got {sorted(sizes)}")
    (size,) = sizes
    walk = _Walk(size)
    try:
        places = walk.closed(traced, [Place(axis) for axis in axes])
    except Mixing:
        return walk.last
    inputs = set(variables)
    for variable, place in zip(traced.jaxpr.outvars, places):
        rows = shape_of(variable)[:1] == (size,)
        if place.axis is not None and not (place.axis == 0 and rows):
            return "output"
        handed_on = not isinstance(variable, Literal) and variable in inputs
        if place.axis is None and rows and not handed_on and not is_constant(variable, place, 0):
            return "output"
    return None


def carry_of_scan(eqn: JaxprEqn) -> tuple[int, int]:
    """Returns the first and the end of the carry among the inputs of a scan: constants, carry, sequences.

    Sequences have one axis less in the body. JAX's own numbers have other names in each version.
    """
    body = eqn.params["jaxpr"]
    body = body.jaxpr if isinstance(body, ClosedJaxpr) else body

    def whole(outer: Sequence[Any], inner: Sequence[Any]) -> int:
        return sum(a.aval.ndim == b.aval.ndim for a, b in zip(outer, inner, strict=True))

    end = whole(eqn.invars, body.invars)
    return end - whole(eqn.outvars, body.outvars), end


class _Walk:
    """Follows `size` samples through jaxprs. `last` is the name of the operation that was looked at last."""

    def __init__(self, size: int):
        self.size, self.last = size, ""

    def closed(self, traced: ClosedJaxpr | Jaxpr, places: list[Place]) -> list[Place]:
        jaxpr = traced.jaxpr if isinstance(traced, ClosedJaxpr) else traced
        return self.jaxpr(jaxpr, [NOWHERE] * len(jaxpr.constvars), places)

    def jaxpr(self, jaxpr: Jaxpr, constants: list[Place], places: list[Place]) -> list[Place]:
        known: dict[Any, Place] = dict(zip(jaxpr.constvars, constants)) | dict(zip(jaxpr.invars, places))

        def read(variable: Any) -> Place:
            return NOWHERE if isinstance(variable, Literal) else known[variable]

        for equation in jaxpr.eqns:
            found = self.equation(equation, [read(variable) for variable in equation.invars])
            known |= dict(zip(equation.outvars, found))
        return [read(variable) for variable in jaxpr.outvars]

    def equation(self, equation: Any, places: list[Place]) -> list[Place]:
        name = equation.primitive.name
        special = {"scan": self.scan, "while": self.loop, "cond": self.branches}.get(name)
        if special is not None:
            return special(equation, places)
        if name in _CALLS:
            (inner,) = (equation.params[key] for key in _INNER if key in equation.params)
            if isinstance(inner, ClosedJaxpr):
                return self.closed(inner, places)
            return self.jaxpr(inner, [], places)
        self.last = name
        rule = RULES.get(name)
        if rule is not None:
            return rule(equation, places, self.size)
        if any(place.axis is not None for place in places):
            raise Mixing
        return [NOWHERE] * len(equation.outvars)

    def branches(self, equation: Any, places: list[Place]) -> list[Place]:
        if places[0].axis is not None:
            self.last = "cond"
            raise Mixing
        first, *others = [self.closed(branch, places[1:]) for branch in equation.params["branches"]]
        self.last = "cond"
        for other in others:
            first = self.joined(equation.outvars, first, other)
        return first

    def scan(self, equation: Any, places: list[Place]) -> list[Place]:
        inner, (split, end) = equation.params["jaxpr"], carry_of_scan(equation)
        constants, carry, rows = places[:split], places[split:end], places[end:]
        if any(place.axis == 0 for place in rows):  # a loop over the samples
            self.last = "scan"
            raise Mixing
        rows = [Place(place.axis if place.axis is None or place.axis < 0 else place.axis - 1) for place in rows]
        variables = equation.outvars[: len(carry)]

        def body(carry: list[Place]) -> list[Place]:
            return self.closed(inner, [*constants, *carry, *rows])

        carry = self.repeated("scan", lambda carry: body(carry)[: len(carry)], variables, carry)
        made = body(carry)[len(carry) :]
        made = [Place(place.axis if place.axis is None or place.axis < 0 else place.axis + 1) for place in made]
        return [*carry, *made]

    def loop(self, equation: Any, places: list[Place]) -> list[Place]:
        first, second = equation.params["cond_nconsts"], equation.params["body_nconsts"]
        of_condition, of_body, carry = places[:first], places[first : first + second], places[first + second :]
        body = lambda carry: self.closed(equation.params["body_jaxpr"], [*of_body, *carry])  # noqa: E731
        carry = self.repeated("while", body, equation.outvars, carry)
        (condition,) = self.closed(equation.params["cond_jaxpr"], [*of_condition, *carry])
        if condition.axis is not None:
            self.last = "while"
            raise Mixing
        return carry

    def repeated(
        self, name: str, body: Callable[[list[Place]], list[Place]], variables: Sequence[Any], carry: list[Place]
    ) -> list[Place]:
        """Returns the places of a loop's carry, which hold before and after each pass."""
        while True:
            after = body(carry)
            self.last = name
            new = self.joined(variables, carry, after)
            if new == carry:
                return carry
            carry = new

    def joined(self, variables: Sequence[Any], left: list[Place], right: list[Place]) -> list[Place]:
        """Returns the places of values that may be either of two."""
        places = []
        for variable, one, other in zip(variables, left, right):
            axis = common((variable, variable), (one, other), (one.axis, other.axis))
            both = frozenset() if axis is not None else one.constant & other.constant
            places.append(Place(axis, both))
        return places
