"""FLOPs of traced functions, against closed forms and the CPU's compiler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gan_jax.ops import conv, grouped_conv
from gan_jax.targets.flops import UncountedError, function_flops

MATRIX = jax.ShapeDtypeStruct((8, 8), jnp.float32)
ONE = 2 * 8**3  # a product of two of them


def of(function, *shapes):
    return function_flops(function, *(shapes or (MATRIX,)))


@pytest.mark.parametrize(
    ("function", "products"),
    [
        (lambda a: a @ a, 1),
        (jax.jit(lambda a: a @ a), 1),
        (jax.checkpoint(lambda a: a @ a), 1),
        (lambda a: lax.scan(lambda c, _: (c @ a, None), a, length=5)[0], 5),
        (lambda a: lax.fori_loop(0, 3, lambda _, c: c @ a, a), 3),
        (lambda a: lax.cond(a[0, 0] > 0, lambda: a @ a @ a, lambda: a @ a), 2),
        (lambda a: jax.vmap(lambda row: a @ row)(a), 1),
        (jax.grad(lambda a: jnp.sum(jnp.sin(a @ a))), 3),
        (lambda a: (a @ a, a)[1], 0),  # no result depends on it
        (lambda a: jax.jit(lambda a, b: (a @ a, b))(a, jnp.sin(a))[0], 1),  # an input that is not read
        (lambda a: lax.while_loop(lambda c: c[0, 0] > 0, jnp.sin, a) @ a, 1),
        (lambda a: jnp.sin(a @ a) + jax.jit(lambda b: jnp.cos(b @ b))(a), 1),  # twice the same product
        (lambda a: (a @ a) @ a + (a @ a) @ (2 * a), 3),
    ],
)  # fmt: skip
def test_structure(function, products):
    assert of(function) == products * ONE


def test_an_input_that_is_not_read():
    assert of(lambda a, b: a @ a, MATRIX, MATRIX) == ONE


def test_a_custom_derivative_counts_once():
    @jax.custom_vjp
    def double(a):
        return a @ a

    double.defvjp(lambda a: (a @ a, a), lambda a, g: (g @ a.T + a.T @ g,))
    assert of(double) == ONE
    assert of(jax.grad(lambda a: jnp.sum(jnp.sin(double(a))))) == 3 * ONE


def test_a_loop_of_unknown_length_is_refused():
    with pytest.raises(UncountedError, match=r"use lax\.scan"):
        of(lambda a: lax.while_loop(lambda c: c[0, 0] > 0, lambda c: c @ a, a))


def test_devices_add_up():
    mesh = jax.sharding.AbstractMesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")
    halves = jax.shard_map(
        lambda a, b: a @ b, mesh=mesh, in_specs=(spec, jax.sharding.PartitionSpec()), out_specs=spec
    )
    assert of(halves, MATRIX, MATRIX) == ONE  # each of two devices multiplies half of the rows


def by_hand(x, w, strides, padding, lhs, rhs, groups, batch_groups):
    """Counts the pairs of numbers that a convolution multiplies, with convolutions of ones.

    Zeros that a dilation inserts stay zeros, so the sum over the result is the number of products."""
    ones = lax.conv_general_dilated(
        jnp.ones(x), jnp.ones(w), strides, padding, lhs, rhs, ("NHWC", "HWIO", "NHWC"), groups, batch_groups
    )
    return 2 * float(np.asarray(ones, np.float64).sum())


@pytest.mark.parametrize(
    ("x", "w", "strides", "padding", "lhs", "rhs", "groups", "batch_groups"),
    [
        ((2, 8, 8, 4), (3, 3, 4, 6), (1, 1), [(1, 1), (1, 1)], (1, 1), (1, 1), 1, 1),
        ((2, 8, 7, 4), (4, 4, 4, 6), (2, 2), [(1, 1), (1, 2)], (1, 1), (1, 1), 1, 1),
        ((2, 4, 4, 4), (4, 4, 4, 6), (1, 1), [(2, 2), (2, 2)], (2, 2), (1, 1), 1, 1),  # a transposed convolution
        ((2, 9, 9, 4), (4, 4, 4, 6), (1, 1), [(1, 0), (-1, 0)], (1, 1), (2, 2), 1, 1),  # a kernel gradient
        ((2, 8, 8, 4), (3, 3, 2, 6), (1, 1), [(1, 1), (1, 1)], (1, 1), (1, 1), 2, 1),
        ((4, 8, 8, 4), (3, 3, 4, 6), (1, 1), [(1, 1), (1, 1)], (1, 1), (1, 1), 1, 2),
    ],
)  # fmt: skip
def test_convolutions(x, w, strides, padding, lhs, rhs, groups, batch_groups):
    def convolve(x, w):
        return lax.conv_general_dilated(
            x, w, strides, padding, lhs, rhs, ("NHWC", "HWIO", "NHWC"), groups, batch_groups
        )

    shapes = (jax.ShapeDtypeStruct(x, jnp.float32), jax.ShapeDtypeStruct(w, jnp.float32))
    expected = by_hand(x, w, strides, padding, lhs, rhs, groups, batch_groups)
    assert of(convolve, *shapes) == expected


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_of_ops(groups, stride):
    """Each derivative has the operations of the convolution itself."""
    x, w = (2, 8, 8, 4), (4, 4, 4 // groups, 6)
    shapes = (jax.ShapeDtypeStruct(x, jnp.float32), jax.ShapeDtypeStruct(w, jnp.float32))

    def convolve(x, w):
        return grouped_conv(x, w, groups=groups, stride=stride, padding=1)

    one = by_hand(x, w, (stride, stride), [(1, 1), (1, 1)], (1, 1), (1, 1), groups, 1)
    assert of(convolve, *shapes) == one
    for argument in (0, 1):
        assert of(jax.grad(lambda x, w: jnp.sum(jnp.sin(convolve(x, w))), argnums=argument), *shapes) == 2 * one


def test_convolutions_of_ops_in_three_dimensions():
    """A kernel of one frame has the operations of as many images."""
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 5, 8, 8, 4), (1, 4, 4, 4, 6))]
    images = by_hand((10, 8, 8, 4), (4, 4, 4, 6), (2, 2), [(1, 1), (1, 1)], (1, 1), (1, 1), 1, 1)
    assert of(lambda x, w: conv(x, w, stride=(1, 2, 2), padding=(0, 1, 1)), *shapes) == images
