"""Finds the first layer of a generator in its traced program: where latents enter it, and what it returns.

A layer is a product of matrices, or a convolution, of something that depends on the latents with something that
does not. So networks of any library are read, and layers inside of them too, such as those that take parts of the
latents further up in BigGAN.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal


class _How(IntEnum):
    """How a value depends on the latents."""

    NOT = 0
    AFFINE = 1
    BEFORE = 2  # in another way, and no layer lies between
    FIRST = 3  # one layer lies between
    LATER = 4


_PRODUCTS = {"dot_general", "conv_general_dilated", "conv_forward", "conv_transpose"}  # the last two: of `ops`
_LINEAR = {  # of all operands that depend on the latents
    "add", "sub", "add_any", "neg", "reshape", "transpose", "broadcast_in_dim", "slice", "squeeze", "concatenate",
    "convert_element_type", "reduce_sum", "pad", "rev", "expand_dims", "split", "copy", "cumsum", "tile",
    "stack", "unstack", "optimization_barrier", "reduce_window_sum", "resample",
}  # fmt: skip
_LINEAR_IN_FIRST = {"div", "dynamic_slice", "gather"}  # the others must not depend on the latents
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # names of the parameter that is the body of a call
_LOOPS = {"scan", "while", "cond"}


class FirstLayer(NamedTuple):
    """What a generator computes first of latents `[B, N]`.

    Attributes:
        products: the products of affine functions of the latents with the first kernels, `[B, ...]` each.
        activations: what the first product after the first layer gets, `[B, ...]`; None: there is no such product.
    """

    products: list[jax.Array]
    activations: jax.Array | None


def first_layer(function: Callable[[jax.Array], Any], latents: jax.Array) -> FirstLayer:
    """Evaluates a pure function of latents up to its first layer; it may be differentiated and jitted."""
    traced, walk = jax.make_jaxpr(function)(latents), _Walk()
    walk.closed(traced, [(latents, _How.AFFINE)])
    return FirstLayer(walk.products, walk.activations)


_Value = tuple[Any, _How]


class _Walk:
    """Evaluates a program, and notes on the way how each value depends on the latents."""

    def __init__(self) -> None:
        self.products: list[jax.Array] = []
        self.activations: jax.Array | None = None

    def closed(self, traced: ClosedJaxpr | Jaxpr, values: Sequence[_Value]) -> list[_Value]:
        if not isinstance(traced, ClosedJaxpr):
            return self.jaxpr(traced, [], values)
        return self.jaxpr(traced.jaxpr, [(x, _How.NOT) for x in traced.consts], values)

    def jaxpr(self, jaxpr: Jaxpr, constants: Sequence[_Value], values: Sequence[_Value]) -> list[_Value]:
        known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *values], strict=True))

        def read(variable: Any) -> _Value:
            return (variable.val, _How.NOT) if isinstance(variable, Literal) else known[variable]

        for equation in jaxpr.eqns:
            made = self.equation(equation, [read(variable) for variable in equation.invars])
            known |= dict(zip(equation.outvars, made, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def equation(self, equation: JaxprEqn, values: list[_Value]) -> list[_Value]:
        name = equation.primitive.name
        inner = [equation.params[key] for key in _INNER if key in equation.params]
        if name not in _LOOPS and inner and isinstance(inner[0], ClosedJaxpr | Jaxpr):
            return self.closed(inner[0], values)
        made = equation.primitive.bind(*(x for x, _ in values), **equation.params)
        made = list(made) if equation.primitive.multiple_results else [made]
        how = self.product(values, made[0]) if name in _PRODUCTS else _after(name, [how for _, how in values])
        return [(x, how) for x in made]

    def product(self, values: list[_Value], made: jax.Array) -> _How:
        """Notes a product, if it is one of the first or the second layer."""
        (one, how), (other, other_how) = values[:2]
        if how < other_how:
            one, how, other_how = other, other_how, how
        if how == _How.NOT:
            return how
        if how == _How.AFFINE and other_how == _How.NOT:
            self.products.append(made)
        if how == _How.FIRST and self.activations is None:
            self.activations = one
        return _How.FIRST if how < _How.FIRST else _How.LATER


def _after(name: str, hows: Sequence[_How]) -> _How:
    """Returns how the result of an operation that is no product depends on the latents."""
    most = max(hows, default=_How.NOT)
    if name in _LOOPS and most != _How.NOT:
        return _How.LATER
    if most != _How.AFFINE:
        return most
    dependent = [how != _How.NOT for how in hows]
    if name in _LINEAR or (name in _LINEAR_IN_FIRST and not any(dependent[1:])):
        return _How.AFFINE
    if name == "select_n":
        return _How.BEFORE if dependent[0] else _How.AFFINE
    return _How.AFFINE if name == "mul" and sum(dependent) == 1 else _How.BEFORE
