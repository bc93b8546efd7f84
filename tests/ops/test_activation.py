"""The derivatives of the activations, to the second order, are those of `jax.nn`, at 0 too, and save no input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.ops import leaky_relu, relu

PAIRS = {
    "leaky_relu": (leaky_relu, lambda x: jax.nn.leaky_relu(x, 0.2), 0.2, 1.0),
    "relu": (relu, jax.nn.relu, 0.0, 0.0),
}
pytestmark = pytest.mark.usefixtures("quick_compile")
ALL = pytest.mark.parametrize(("ours", "theirs", "slope", "at_zero"), PAIRS.values(), ids=PAIRS)
X = jnp.asarray([-3.0, -0.5, 0.0, 0.25, 7.0])


@ALL
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=str)
def test_values_and_derivatives(ours, theirs, slope, at_zero, dtype):
    x, weights = X.astype(dtype), jnp.asarray([1.0, -2.0, 3.0, -4.0, 5.0], dtype)
    expected = np.asarray([slope, slope, at_zero, 1, 1], np.asarray(x).dtype)
    np.testing.assert_array_equal(ours(x), theirs(x))
    y, pullback = jax.vjp(ours, x)
    np.testing.assert_array_equal(y, theirs(x))
    np.testing.assert_array_equal(pullback(weights)[0], expected * np.asarray(weights))
    np.testing.assert_array_equal(jax.jvp(ours, (x,), (weights,))[1], expected * np.asarray(weights))


@ALL
def test_second_derivatives(ours, theirs, slope, at_zero):
    """Of a penalty on the gradient, in closed form: it is linear between the kinks."""

    def penalty(function, scale):
        return jnp.sum(jax.grad(lambda x: jnp.sum(function(scale * x) ** 2))(X) ** 2)

    # f(s x)^2 = (m s x)^2 has the gradient 2 m^2 s^2 x, with m the slope.
    m = np.asarray([slope, slope, at_zero, 1, 1])
    expected = 4 * 4 * 1.5**3 * np.sum(m**4 * np.asarray(X) ** 2)
    second = jax.jit(lambda s: [jax.grad(functools.partial(penalty, f))(s) for f in (ours, theirs)])(1.5)
    np.testing.assert_allclose(second, [expected, expected], rtol=1e-6)


@ALL
def test_the_derivative_reads_the_output(ours, theirs, slope, at_zero):
    jaxpr = jax.make_jaxpr(lambda x: jax.vjp(ours, x)[1](x))(X).jaxpr
    compared = [equation.invars[0] for equation in jaxpr.eqns if equation.primitive.name in ("ge", "gt")]
    outputs = [equation.outvars[0] for equation in jaxpr.eqns if equation.primitive.name == "custom_jvp_call"]
    assert compared == outputs
