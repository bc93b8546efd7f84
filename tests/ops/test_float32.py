"""Sums over batch and map accumulate in float32 when a model computes in bfloat16."""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

import architectures
import gan_jax
from gan_jax import ops, penalties
from gan_jax.models.layers import Conv, Embed
from gan_jax.models.layers.equalized import EqualConv
from gan_jax.ops import primitives
from gan_jax.ops.geometry import Geometry

BF16 = jnp.bfloat16
SIDES = [*(pytest.param(side, marks=pytest.mark.slow) for side in (4, 16)), 32]
LAYERS = {
    "Conv": Conv(2, size=1, padding=0, dtype=BF16),
    "EqualConv": EqualConv(2, size=1, linear=True, dtype=BF16),
}


def _maps(*shape: int) -> jax.Array:
    """Returns positive numbers, whose sum in bfloat16 stops growing."""
    return jnp.asarray(np.random.default_rng(0).uniform(0.05, 0.15, shape), BF16)


def _exact(x: jax.Array) -> np.ndarray:
    return np.asarray(x, np.float64)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_gradient_of_a_bias(layer: Conv | EqualConv, side: int) -> None:
    x, cotangent = _maps(64, side, side, 1), _maps(64, side, side, 2)
    params = layer.init(jax.random.key(0), x)
    bias = jax.vjp(lambda params: layer.apply(params, x), params)[1](cotangent)[0]["params"]["bias"]
    np.testing.assert_allclose(bias, _exact(cotangent).sum((0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("side", SIDES)
def test_gradients_of_a_style_and_of_a_demodulation(side: int) -> None:
    """With a kernel of the identity, y is `x s d`, with d = 1 / |s w| for each output channel."""
    x, cotangent = _maps(2, side, side, 1), _maps(2, side, side, 1)
    style = jnp.asarray([[0.7], [1.3]], jnp.float32)
    products = (_exact(x) * _exact(cotangent)).sum((1, 2))

    def gradient(demodulate: bool) -> jax.Array:
        def convolve(style: jax.Array) -> jax.Array:
            return ops.modulated_conv(x, jnp.ones((1, 1, 1, 1)), style, demodulate=demodulate, eps=0.5)

        return jax.vjp(convolve, style)[1](cotangent)[0]

    np.testing.assert_allclose(gradient(False), products, rtol=1e-5)
    # In 16 bits the style is divided by its largest value, a constant: s = 1, and d = (s^2 + eps)^(-1/2).
    by_factor = 1.5**-0.5 - 1.5**-1.5
    np.testing.assert_allclose(gradient(True), products * by_factor / _exact(style), rtol=5e-3)


@pytest.mark.parametrize("shape", [(), (8,), (16, 1, 1, 8), (32, 32, 8)], ids=str)
def test_gradient_of_a_factor(shape: tuple[int, ...]) -> None:
    x, cotangent, factor = _maps(16, 32, 32, 8), _maps(16, 32, 32, 8), jnp.ones(shape)
    by_factor = jax.vjp(lambda factor: ops.multiply(x, factor), factor)[1](cotangent)[0]
    summed = [axis for axis, size in enumerate((1, 1, 1, 1)[len(shape) :] + shape) if size == 1]
    exact = (_exact(x) * _exact(cotangent)).sum(tuple(summed)).reshape(shape)
    np.testing.assert_allclose(by_factor, exact, rtol=1e-5)


def test_gradient_of_a_table() -> None:
    """The row of a label that 4,096 samples share is the sum of their gradients."""
    table, cotangent = Embed(2, classes=2, dtype=BF16), _maps(4096, 2)
    label = jnp.zeros(4096, jnp.int32)
    params = table.init(jax.random.key(0), label)
    kernel = jax.vjp(lambda params: table.apply(params, label), params)[1](cotangent)[0]["params"]["kernel"]
    np.testing.assert_allclose(kernel, [_exact(cotangent).sum(0), [0, 0]], rtol=1e-5)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint], ids=["eager", "jit", "remat"])
def test_second_derivatives_of_a_product(side: int, wrap) -> None:
    """R1 of `sum (f x)^2 / 2` is `sum (f^2 x)^2`, whose derivative by f is `4 f^3 sum x^2`."""
    x, factor = _maps(64, side, side, 1), jnp.full((1,), 0.5)

    def r1(factor: jax.Array) -> jax.Array:
        def value(x: jax.Array) -> jax.Array:
            return jnp.sum(ops.multiply(x, factor).astype(jnp.float32) ** 2) / 2

        return jnp.sum(jax.grad(value)(x).astype(jnp.float32) ** 2)

    np.testing.assert_allclose(jax.grad(wrap(r1))(factor)[0], 4 * 0.125 * (_exact(x) ** 2).sum(), rtol=2e-3)


def test_float32_is_computed_as_before() -> None:
    x, y = jnp.ones((2, 3, 3, 4)), jnp.ones((4,))
    for function, plain in ((ops.add, jnp.add), (ops.multiply, jnp.multiply)):
        assert str(jax.make_jaxpr(function)(x, y)) == str(jax.make_jaxpr(plain)(x, y))


def test_a_derivative_keeps_the_map_in_16_bits() -> None:
    x, factor = _maps(2, 4, 4, 8), jnp.ones((8,))
    _, pullback = jax.vjp(lambda x, factor: ops.multiply(x, factor), x, factor)
    assert {leaf.dtype for leaf in jax.tree.leaves(pullback) if leaf.size == x.size} == {jnp.dtype(BF16)}


def test_vmap_and_forward_mode() -> None:
    x, factor, t = _maps(3, 4, 4, 8), jnp.arange(8.0), _maps(3, 4, 4, 8)
    np.testing.assert_array_equal(jax.vmap(ops.multiply, (0, None))(x, factor), ops.multiply(x, factor))
    _, tangent = jax.jvp(lambda x: ops.multiply(x, factor), (x,), (t,))
    np.testing.assert_array_equal(tangent, ops.multiply(t, factor))


# -- whole steps

SUMS = {"reduce_sum", "scatter-add", "cumsum", "reduce_window_sum"}


def _equations(jaxpr) -> Iterator:
    """Yields every equation, those of inner functions too."""
    for equation in jaxpr.eqns:
        yield equation
        yield from (e for inner in jaxprs_in_params(equation.params) for e in _equations(inner))


def _sums_in_16_bits(jaxpr) -> list[str]:
    """Returns the equations that add more than one number in 16 bits."""

    def found(equation) -> bool:
        operand, out = equation.invars[0].aval, equation.outvars[0].aval
        return operand.dtype.itemsize == 2 and (
            equation.primitive.name != "reduce_sum" or operand.size != out.size
        )

    return [str(e) for e in _equations(jaxpr) if e.primitive.name in SUMS and found(e)]


def _in_bfloat16(name: str) -> gan_jax.GAN:
    """Returns an architecture that computes everything it can in bfloat16, with a lazy R1 and R2."""
    gan = architectures.ARCHITECTURES[name]()
    keywords = {"dtype": BF16} | ({"full_precision_up_to": 0} if name == "r3gan" else {})
    players = (gan.generator.clone(**keywords), gan.discriminator.clone(**keywords))
    terms = (gan_jax.Term(0.1, penalties.r1_r2(), 2),)
    return dataclasses.replace(gan, generator=players[0], discriminator=players[1], discriminator_terms=terms)


def _step_sums(name: str) -> list[str]:
    gan = _in_bfloat16(name)
    batch = jax.tree.map(lambda x: jnp.asarray(x[0]), architectures.batches(gan, 1))
    state = jax.eval_shape(lambda key: gan_jax.init(gan, key, batch), jax.random.key(0))
    return _sums_in_16_bits(jax.make_jaxpr(gan_jax.make_train_step(gan))(state, batch).jaxpr)


def test_the_walk_finds_a_sum_in_16_bits() -> None:
    def wrong(bias: jax.Array) -> jax.Array:
        def add(bias: jax.Array) -> jax.Array:
            return jnp.sum((_maps(2, 4, 4, 8) + bias).astype(jnp.float32))

        return jax.lax.cond(True, add, lambda bias: 0.0, bias)

    assert _sums_in_16_bits(jax.make_jaxpr(jax.jit(jax.grad(wrong)))(jnp.zeros(8, BF16)).jaxpr)


_SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("biggan", "stylegan2")]


@pytest.mark.parametrize("name", ["r3gan", *_SLOW])
def test_no_step_sums_in_16_bits(name: str) -> None:
    assert not _step_sums(name)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(architectures.ARCHITECTURES))
def test_every_step(name: str) -> None:
    assert not _step_sums(name)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("platform", ops.FORMULATIONS)
def test_no_formulation_sums_in_16_bits(platform: str, groups: int) -> None:
    g = Geometry((2, 2), ((1, 1), (1, 1)), (4, 4), (4, 4), groups)
    shapes = {"x": (2, 4, 4, 8), "y": (2, 2, 2, 8), "w": (4, 4, 8 // groups, 8)}
    x, y, w = (jax.ShapeDtypeStruct(shape, BF16) for shape in shapes.values())
    for name, arguments in (("conv_forward", (x, w)), ("conv_transpose", (y, w)), ("conv_kernel", (x, y))):
        traced = jax.make_jaxpr(functools.partial(primitives.compute, name, platform, geometry=g))(*arguments)
        assert not _sums_in_16_bits(traced.jaxpr), name
