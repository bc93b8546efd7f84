"""Compares convolutions, to the second derivative, with `lax.conv_general_dilated`; checks what XLA compiles."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import gan_jax
from derivatives import compare
from gan_jax.models import dcgan
from gan_jax.ops import compiler_options, conv, conv_transpose
from quick import some

pytestmark = pytest.mark.usefixtures("quick_compile")

# (kernel, stride, padding, height, width, input channels, output channels); at least one line per formulation.
TABLE = {
    "1x1": (1, 1, 0, 4, 4, 3, 5),
    "1x1 strided": (1, 2, 0, 5, 4, 3, 2),
    "k3s1": (3, 1, 1, 5, 6, 5, 6),
    "k3s1 unpadded": (3, 1, 0, 5, 5, 6, 5),
    "k3s1 few channels": (3, 1, 1, 4, 4, 1, 1),
    "k3s1 to few channels": (3, 1, 1, 5, 6, 5, 2),
    "k3s1 to few channels, unpadded": (3, 1, 0, 5, 6, 5, 2),
    "k2s1 to few channels, wide": (2, 1, 2, 3, 4, 5, 2),  # more padding than kernel
    "k4s2": (4, 2, 1, 12, 12, 6, 3),
    "k4s2 few channels": (4, 2, 1, 12, 12, 2, 5),
    "k4s2 odd": (4, 2, 1, 13, 11, 5, 2),  # some rows are in no window
    "k3s2": (3, 2, 1, 13, 11, 5, 2),
    "k3s2 odd, few channels": (3, 2, 1, 13, 11, 1, 2),
    "k2s2": (2, 2, 0, 10, 12, 5, 2),
    "k5s3": (5, 3, 1, 16, 19, 5, 2),
    "k5s3 cut": (5, 3, 2, 17, 15, 6, 2),
    "k5s3 few channels": (5, 3, 2, 17, 15, 2, 5),
    "k3s4 gaps": (3, 4, 0, 20, 21, 5, 2),  # a kernel smaller than its stride
    "k3s4 gaps, few channels": (3, 4, 0, 20, 21, 3, 2),
    "k2x5s3": ((2, 5), 3, 2, 11, 13, 6, 2),
    "k2x5s3 few channels": ((2, 5), 3, 2, 11, 13, 2, 3),
    "k2x3s1 to few channels": ((2, 3), 1, 1, 5, 6, 5, 2),
    "whole map": (4, 1, 0, 4, 4, 5, 2),  # a matrix product
    "whole map, padded": (4, 1, 1, 4, 4, 5, 5),
}
QUICK = ("k3s1", "k3s1 to few channels", "k4s2", "k4s2 few channels", "k5s3 cut", "whole map, padded")


def sides(k):
    return k if isinstance(k, tuple) else (k, k)


def reference(x, kernel, stride, padding):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def both(case):
    """Returns `conv`, the reference, and inputs `x`, `kernel` in float64."""
    k, stride, padding, height, width, i, o = TABLE[case]
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(2, height, width, i)), draw.normal(size=(*sides(k), i, o))
    ours = lambda x, w: conv(x, w, stride=stride, padding=padding)  # noqa: E731
    return ours, lambda x, w: reference(x, w, stride, padding), inputs


def both_transposed(case):
    """Returns `conv_transpose`, the transpose that JAX derives, and inputs `y`, `kernel`."""
    k, stride, padding, height, width, i, o = TABLE[case]
    out = [(n + 2 * padding - k) // stride + 1 for n, k in zip((height, width), sides(k))]
    size = [(n - 1) * stride - 2 * padding + k for n, k in zip(out, sides(k))]  # the smallest x that gives this y
    draw = np.random.default_rng(1)
    inputs = draw.normal(size=(2, *out, o)), draw.normal(size=(*sides(k), i, o))

    def theirs(y, w):
        x = jax.ShapeDtypeStruct((2, *size, i), y.dtype)
        (image,) = jax.linear_transpose(lambda x: reference(x, w, stride, padding), x)(y)
        return image

    return lambda y, w: conv_transpose(y, w, stride=stride, padding=padding), theirs, inputs


@pytest.mark.parametrize("case", some(TABLE, *QUICK, "1x1 strided", "k4s2 odd", "k3s4 gaps", "k2x5s3"))
@pytest.mark.parametrize("pair", [both, both_transposed], ids=["conv", "conv_transpose"])
def test_value_gradient_and_its_gradient(pair, case):
    with jax.enable_x64(True):
        compare(*pair(case))


@pytest.mark.parametrize("case", some(TABLE, "k3s1", "k4s2 few channels"))
@pytest.mark.parametrize("pair", [both, both_transposed], ids=["conv", "conv_transpose"])
def test_a_loop_is_differentiated_twice(pair, case):
    """In a loop JAX saves the arrays of a custom derivative in its own way; see `patches.padded`."""
    with jax.enable_x64(True):
        ours, theirs, inputs = pair(case)
        stacked = [np.stack([x, -2 * x]) for x in inputs]

        def loop(function):
            return lambda *inputs: lax.map(lambda each: function(*each), inputs)

        compare(loop(ours), loop(theirs), stacked)


@pytest.mark.parametrize("pair", [both, both_transposed], ids=["conv", "conv_transpose"])
@pytest.mark.parametrize("case", some(["k3s1", "k4s2", "k4s2 few channels"], "k4s2"))
def test_inside_a_loop(pair, case):
    """Compares three steps of gradient descent on the kernel in `lax.scan` with the reference's, unrolled."""
    with jax.enable_x64(True):
        ours, theirs, (x, kernel) = pair(case)

        def step(kernel, x, function):
            return kernel - 0.01 * jax.grad(lambda w: jnp.sum(jnp.tanh(function(x, w)) ** 2))(kernel)

        def loop(kernel):
            return lax.scan(lambda w, x: (step(w, x, ours), None), kernel, jnp.stack([x, -x, 2 * x]))[0]

        expected = kernel
        for part in (x, -x, 2 * x):
            expected = jax.jit(step, static_argnums=2)(expected, part, theirs)
        np.testing.assert_allclose(jax.jit(loop)(kernel), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-6), (jnp.bfloat16, 0.006)])
@pytest.mark.parametrize("pair", [both, both_transposed], ids=["conv", "conv_transpose"])
@pytest.mark.parametrize("case", some([*QUICK[:4], "k3s4 gaps"], "k3s1", "k4s2 few channels"))
def test_other_types_are_kept_and_summed_in_higher_precision(pair, case, dtype, tolerance):
    """The value and both gradients have the relative error of one rounding, and not of many."""
    ours, theirs, inputs = pair(case)
    low = [jnp.asarray(x, dtype) for x in inputs]
    found, expected = (
        jax.jit(lambda *low, f=f: jax.vjp(f, *low)[1](jax.vjp(f, *low)[0]))(*each)
        for f, each in ((ours, low), (theirs, [x.astype(jnp.float32) for x in low]))
    )
    for a, b in zip((ours(*low), *found), (theirs(*(x.astype(jnp.float32) for x in low)), *expected)):
        assert a.dtype == dtype
        assert np.linalg.norm(a.astype(jnp.float32) - b) <= tolerance * np.linalg.norm(b)


@pytest.mark.parametrize("channels", [2, 6])
def test_what_does_not_fit_is_refused(channels):
    """The message is the same where the convolution is a matrix product."""
    images, kernel = jnp.ones((1, 8, 8, channels)), jnp.ones((4, 4, channels, 5))
    with pytest.raises(ValueError, match=f"images have {channels} channels, .* needs {channels + 1}"):
        conv(images, jnp.ones((4, 4, channels + 1, 5)), stride=2, padding=1)
    with pytest.raises(ValueError, match=f"images have {channels} channels, .* needs 5"):
        conv_transpose(images, kernel, stride=2, padding=1)
    with pytest.raises(TypeError, match="float32 and bfloat16"):
        conv(images, kernel.astype(jnp.bfloat16), stride=2, padding=1)
    with pytest.raises(ValueError, match=r"^images \(1, 1, 8, \d\), padded by 1, are smaller than the kernel"):
        conv(images[:, :1], kernel, stride=2, padding=1)
    assert conv(images[:0], kernel, stride=2, padding=1).shape == (0, 4, 4, 5)


# What XLA on the CPU compiles.


def convolutions(text):
    """Returns `(dim_labels, window)` of each convolution in an HLO text."""
    lines = [line for line in text.splitlines() if re.search(r" convolution\(|custom_call_target=.*[cC]onv", line)]
    return [
        (re.search(r"dim_labels=(\S+?)[,\s]", line + " ").group(1), re.search(r"window={([^}]*)}", line).group(1))
        for line in lines
    ]  # fmt: skip


def naive(text):
    """Returns the convolutions that XLA on the CPU runs naively: unusual dimension orders, and dilated inputs."""
    return [c for c in convolutions(text) if c[0] != "b01f_01io->b01f" or "lhs_dilate" in c[1]]


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="tests the CPU's formulations")
@pytest.mark.parametrize(
    ("pair", "case", "count"),
    [
        (both, "k3s1", 1),
        (both, "k3s1 few channels", 1),
        (both, "k3s1 to few channels", 0),
        (both, "k4s2", 1),
        (both, "k4s2 few channels", 1),
        (both, "whole map", 0),
        (both_transposed, "k3s1", 1),
        (both_transposed, "k3s1 few channels", 0),
        (both_transposed, "k4s2", 4),
        (both_transposed, "k4s2 few channels", 0),
    ],
)
def test_formulations(pair, case, count):
    """Counts the convolutions that one compiles to: one per phase, none for patches."""
    ours, _, inputs = pair(case)
    assert len(convolutions(jax.jit(ours).lower(*inputs).compile().as_text())) == count


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="tests the CPU's formulations")
def test_a_dcgan_step_in_a_loop_has_only_plain_convolutions():
    gan = gan_jax.GAN(
        dcgan.Generator((16, 16, 3), width=8), dcgan.Discriminator(width=8), gan_jax.losses.non_saturating(),
        gan_jax.optimizers.adam(), gan_jax.optimizers.adam(), gan_jax.latents.normal(8),
        discriminator_terms=(gan_jax.Term(1.0, gan_jax.penalties.r1()),),
    )  # fmt: skip
    batches = {"image": jax.ShapeDtypeStruct((2, 4, 16, 16, 3), jnp.uint8)}
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batches)
    state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), one))
    step = gan_jax.fuse_steps(gan_jax.make_train_step(gan), 2)
    text = jax.jit(step, compiler_options=compiler_options()).lower(state, batches).compile().as_text()
    assert len(convolutions(text)) > 10
    assert naive(text) == []


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="tests the CPU's formulations")
def test_the_guard_sees_what_jax_would_derive():
    """The derivatives that JAX itself makes, in a loop, have naive convolutions, and `naive` finds them."""
    kernel, x = jnp.ones((4, 4, 6, 6)), jnp.ones((2, 12, 12, 6))

    def step(w, x):
        return w - jax.grad(lambda w: jnp.sum(reference(jnp.tanh(reference(x, w, 2, 1)), w, 2, 1) ** 2))(w), None

    text = jax.jit(lambda w: lax.scan(step, w, jnp.stack([x, x]))[0]).lower(kernel).compile().as_text()
    assert naive(text)
