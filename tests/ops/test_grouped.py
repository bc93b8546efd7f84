"""Compares grouped convolution, to the second derivative, with XLA's own; checks what XLA compiles."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from derivatives import compare
from gan_jax.ops import FORMULATIONS, compiler_options, grouped_conv
from gan_jax.ops.backend import default_platform, formulations
from test_conv import convolutions, naive

pytestmark = pytest.mark.usefixtures("quick_compile")

# (kernel, stride, padding, height, width, groups, input channels per group, output channels per group)
TABLE = {
    "one group": (3, 1, 1, 4, 5, 1, 3, 2),
    "two blocks": (3, 1, 1, 4, 5, 8, 4, 4),  # four groups each
    "three blocks": (3, 1, 1, 4, 4, 9, 5, 2),  # three groups each, because nine is not a multiple of four
    "one block": (3, 1, 1, 5, 4, 3, 4, 3),
    "wide groups": (3, 1, 1, 3, 4, 2, 17, 18),  # one group per block
    "strided": (4, 2, 1, 8, 6, 6, 3, 4),
    "1x1": (1, 1, 0, 3, 4, 4, 6, 5),
    "depthwise": (3, 1, 1, 4, 5, 20, 1, 1),
    "multiplier": (3, 1, 0, 5, 5, 6, 1, 3),
    "whole map": (4, 1, 0, 4, 4, 5, 2, 3),
    "whole map, depthwise": (4, 1, 0, 4, 4, 18, 1, 1),
    "whole map, padded": (4, 1, 1, 4, 4, 4, 2, 3),
}
QUICK = ("two blocks", "three blocks", "strided", "depthwise", "whole map, padded")


@pytest.fixture(params=["native", "blocks"])
def form(request, monkeypatch):
    row = formulations()._replace(grouped=request.param)
    monkeypatch.setitem(FORMULATIONS, default_platform(), row)


def reference(x, kernel, groups, stride, padding):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
    )  # fmt: skip


def both(case):
    """Returns `grouped_conv`, the reference, and inputs `x`, `kernel` in float64."""
    k, stride, padding, height, width, groups, i, o = TABLE[case]
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(2, height, width, groups * i)), draw.normal(size=(k, k, i, groups * o))
    ours = lambda x, w: grouped_conv(x, w, groups=groups, stride=stride, padding=padding)  # noqa: E731
    return ours, lambda x, w: reference(x, w, groups, stride, padding), inputs


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize(
    ("form", "case"),
    [
        ("native", "strided"),
        *(pytest.param("blocks", case, marks=[] if case in QUICK else pytest.mark.slow) for case in TABLE),
    ],
    indirect=["form"],
)
def test_value_gradient_and_its_gradient(case):
    with jax.enable_x64(True):
        compare(*both(case))


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("case", ["two blocks", "whole map"])
def test_types_are_kept(case, dtype):
    ours, theirs, inputs = both(case)
    low = [jnp.asarray(x, dtype) for x in inputs]
    assert ours(*low).dtype == dtype
    exact = theirs(*(x.astype(jnp.float32) for x in low))
    tolerance = 50 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(ours(*low).astype(jnp.float32), exact, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("form")
def test_bad_arguments_are_refused():
    x, kernel = jnp.ones((1, 4, 4, 6)), jnp.ones((3, 3, 2, 6))
    for groups in (0, 4):
        with pytest.raises(
            ValueError, match=f"groups must divide the 6 input and 6 output channels, got {groups}"
        ):
            grouped_conv(x, kernel, groups=groups)
    with pytest.raises(ValueError, match="5 output channels"):
        grouped_conv(x, kernel[..., :5], groups=3)
    with pytest.raises(ValueError, match="6 channels in 2 groups need a kernel with 3, not 2"):
        grouped_conv(x, kernel, groups=2)


def in_a_loop(function, kernel, x):
    """Returns the compiled text of gradient descent in `lax.scan` on a penalty, so with second derivatives."""

    def penalty(kernel, x):
        return jnp.sum(jax.grad(lambda x: jnp.sum(jnp.tanh(function(x, kernel))))(x) ** 2)

    def loop(kernel):
        return lax.scan(lambda w, x: (w - jax.grad(penalty)(w, x), None), kernel, jnp.stack([x, x]))[0]

    return jax.jit(loop, compiler_options=compiler_options()).lower(kernel).compile().as_text()


def grouped(text):
    return re.findall(r"(?:feature|batch)_group_count=\d+", text)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="tests the CPU's formulations")
def test_derivatives_in_a_loop_are_plain_convolutions():
    kernel, x = jnp.ones((3, 3, 8, 64)), jnp.ones((2, 6, 6, 64))
    text = in_a_loop(lambda x, w: grouped_conv(x, w, groups=8, padding=1), kernel, x)
    assert len(convolutions(text)) >= 4  # forward, derivative by x, and the derivative of both by the kernel
    assert naive(text) == []
    assert grouped(text) == []
    # `naive` finds the naive convolutions that JAX derives.
    text = in_a_loop(lambda x, w: reference(x, w, 8, 1, 1), kernel, x)
    assert naive(text)
    assert grouped(text)
