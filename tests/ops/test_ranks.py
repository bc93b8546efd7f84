"""Compares convolutions and resampling in one and three dimensions with references in float64.

Two dimensions are in test_conv.py and test_resample.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from derivatives import compare
from gan_jax.ops import FORMULATIONS, conv, conv_transpose, downsample, fir_filter, grouped_conv, upsample
from gan_jax.ops.backend import default_platform, formulations
from quick import some
from test_conv import naive

pytestmark = pytest.mark.usefixtures("quick_compile")

DIMENSIONS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}
# (size, kernel, stride, padding, input channels, output channels)
TABLE = {
    "1d k3s1": ((7,), (3,), 1, 1, 5, 6),
    "1d k3s1 to few channels": ((7,), (3,), 1, 1, 6, 2),
    "1d k4s2": ((9,), (4,), 2, 1, 5, 6),  # the last pixel is in no window
    "1d k4s2 few channels": ((8,), (4,), 2, 1, 1, 5),
    "1d k3s4 gaps": ((11,), (3,), 4, 0, 5, 2),
    "1d pointwise": ((5,), (1,), 1, 0, 3, 4),
    "1d whole map": ((4,), (4,), 1, 0, 3, 2),
    "2d, strides that differ": ((7, 6), (3, 4), (1, 2), (1, 1), 5, 6),
    "2d, strides that differ, few channels": ((7, 6), (3, 4), (1, 2), (0, 1), 2, 5),
    "3d k3s1": ((4, 3, 5), (3, 3, 3), 1, 1, 5, 6),
    "3d k3s1 to few channels": ((3, 4, 3), (3, 3, 3), 1, 1, 6, 1),
    "3d k4s2": ((6, 7, 6), (4, 4, 4), 2, 1, 5, 6),
    "3d k4s2 few channels": ((6, 4, 4), (4, 4, 4), 2, 1, 1, 5),
    "3d k2s3 gaps": ((7, 4, 5), (2, 2, 2), 3, 0, 5, 2),
    "3d pointwise, strided": ((3, 4, 3), (1, 1, 1), 2, 0, 3, 4),
    "3d whole map": ((2, 3, 2), (2, 3, 2), 1, 0, 3, 2),
    "video": ((5, 6, 4), (3, 4, 4), (1, 2, 2), 1, 5, 3),
    "video, a pointwise frame": ((3, 4, 4), (1, 3, 3), 1, (0, 1, 1), 5, 6),
}
ROWS = {
    "gpu": {"convolution": "gpu", "volumes": "native"},
    "native": {"convolution": "native", "volumes": "native"},
}
MORE = ("1d k3s1 to few channels", "2d, strides that differ", "3d pointwise, strided")
QUICK = ("1d k4s2", "3d k3s1", "3d k4s2", "video")  # of the formulations of other platforms, those that differ


def axes(value, rank):
    return (value,) * rank if isinstance(value, int) else value


def reference(x, kernel, stride, padding):
    rank = x.ndim - 2
    pads = [(p, p) for p in axes(padding, rank)]
    return lax.conv_general_dilated(x, kernel, axes(stride, rank), pads, dimension_numbers=DIMENSIONS[rank])


def both(case):
    """Returns `conv`, the reference, and inputs `x`, `kernel` in float64."""
    size, k, stride, padding, i, o = TABLE[case]
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(2, *size, i)), draw.normal(size=(*k, i, o))
    ours = functools.partial(conv, stride=stride, padding=padding)
    return ours, lambda x, w: reference(x, w, stride, padding), inputs


def both_transposed(case):
    """Returns `conv_transpose`, the transpose that JAX derives, and inputs `y`, `kernel`."""
    size, k, stride, padding, i, o = TABLE[case]
    strides, pads = axes(stride, len(size)), axes(padding, len(size))
    out = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(size, pads, k, strides)]
    smallest = [(n - 1) * s - 2 * p + k for n, p, k, s in zip(out, pads, k, strides)]  # the x that gives this y
    draw = np.random.default_rng(1)
    inputs = draw.normal(size=(2, *out, o)), draw.normal(size=(*k, i, o))

    def theirs(y, w):
        x = jax.ShapeDtypeStruct((2, *smallest, i), y.dtype)
        (image,) = jax.linear_transpose(lambda x: reference(x, w, stride, padding), x)(y)
        return image

    return functools.partial(conv_transpose, stride=stride, padding=padding), theirs, inputs


def both_grouped(groups, size, k, stride):
    draw = np.random.default_rng(0)
    rank = len(size)
    inputs = draw.normal(size=(2, *size, 3 * groups)), draw.normal(size=(*(k,) * rank, 3, 2 * groups))

    def theirs(x, w):
        return lax.conv_general_dilated(
            x, w, (stride,) * rank, [(1, 1)] * rank, dimension_numbers=DIMENSIONS[rank], feature_group_count=groups
        )

    return functools.partial(grouped_conv, groups=groups, stride=stride, padding=1), theirs, inputs


PAIRS = pytest.mark.parametrize("pair", [both, both_transposed], ids=["conv", "conv_transpose"])


@pytest.fixture
def row(request, monkeypatch):
    changed = formulations()._replace(grouped="native", **ROWS[request.param])
    monkeypatch.setitem(FORMULATIONS, default_platform(), changed)


@pytest.mark.parametrize(
    ("pair", "case"),
    [
        pytest.param(pair, case, marks=[] if case in quick else [pytest.mark.slow])
        for pair, quick in ((both, (*QUICK, *MORE)), (both_transposed, ("1d k4s2", "video")))
        for case in TABLE
    ],
)
def test_value_gradient_and_its_gradient(pair, case):
    with jax.enable_x64(True):
        compare(*pair(case))


@PAIRS
@pytest.mark.parametrize("case", some(QUICK, "1d k4s2", "3d k4s2"))
@pytest.mark.parametrize("row", ["gpu", pytest.param("native", marks=pytest.mark.slow)], indirect=True)
def test_the_formulations_of_an_accelerator(pair, case, row):
    with jax.enable_x64(True):
        compare(*pair(case))


@pytest.mark.parametrize("arguments", [(2, (6,), 3, 1), (2, (4, 3, 2), 3, 1)], ids=["1d", "3d"])
def test_groups(arguments):
    with jax.enable_x64(True):
        compare(*both_grouped(*arguments))


@pytest.mark.parametrize("row", ["gpu"], indirect=True)
def test_groups_of_a_small_volume_on_a_gpu(row):
    """The volume becomes images whose groups have the frames that the kernel covers."""
    with jax.enable_x64(True):
        compare(*both_grouped(2, (2, 4, 5), 4, 2))


@pytest.mark.parametrize("case", some(["1d k4s2", "video"], "1d k4s2"))
@pytest.mark.parametrize("mapped", [(0, None), (None, 0), (1, 2)])
def test_vmap_of_all_derivatives(case, mapped):
    ours, theirs, (x, w) = both(case)
    x, w = (a if d is None else np.stack([a, 2 * a], axis=d) for a, d in zip((x, w), mapped))

    def everything(f):
        gradients = jax.grad(lambda x, w: jnp.sum(f(x, w) ** 3), argnums=(0, 1))
        return jax.jit(jax.vmap(lambda x, w: (f(x, w), gradients(x, w)), in_axes=mapped))(x, w)

    with jax.enable_x64(True):
        found, expected = everything(ours), everything(theirs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), found, expected)


@PAIRS
@pytest.mark.parametrize("case", some(["1d k4s2", "3d k4s2"], "1d k4s2"))
def test_bfloat16_is_summed_in_float32(pair, case):
    """The value and both gradients have the relative error of one rounding, and not of many."""
    ours, theirs, inputs = pair(case)
    low = [jnp.asarray(x, jnp.bfloat16) for x in inputs]
    found, expected = (
        jax.jit(lambda *low, f=f: (f(*low), *jax.vjp(f, *low)[1](jax.vjp(f, *low)[0])))(*each)
        for f, each in ((ours, low), (theirs, [x.astype(jnp.float32) for x in low]))
    )
    for a, b in zip(found, expected):
        assert a.dtype == jnp.bfloat16
        assert np.linalg.norm(a.astype(jnp.float32) - b) <= 0.006 * np.linalg.norm(b)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="tests the CPU's formulations")
@pytest.mark.parametrize("case", ["1d k4s2", "3d k4s2"])
def test_a_loop_on_the_cpu_has_only_plain_convolutions(case):
    """XLA runs any other with a naive routine there; see `naive`. A volume has convolutions of images."""
    ours, _, (x, w) = both(case)

    def step(w, x):
        critic = lambda w, x: jnp.sum(jnp.tanh(ours(x, w)))  # noqa: E731
        penalty = lambda w: jnp.sum(jax.grad(critic, argnums=1)(w, x) ** 2)  # noqa: E731
        return w - jax.grad(penalty)(w), None

    loop = jax.jit(lambda w, x: lax.scan(step, w, x)[0])
    text = loop.lower(jnp.float32(w), jnp.stack([x, x]).astype(jnp.float32)).compile().as_text()
    plain = {1: "b0f_0io->b0f", 3: "b01f_01io->b01f"}[x.ndim - 2]
    assert [c for c in naive(text) if c[0] != plain or "lhs_dilate" in c[1]] == []
    assert plain in text


def test_what_does_not_fit_is_refused():
    x, kernel = jnp.ones((1, 8, 6, 6, 2)), jnp.ones((4, 4, 4, 2, 5))
    for function in (conv, conv_transpose):
        with pytest.raises(
            ValueError, match=r"same number of spatial axes, 1 to 3, got \(1, 8, 6, 2\) and \(4, 4, 4"
        ):
            function(x[:, :, 0], kernel)
        with pytest.raises(ValueError, match="same number of spatial axes"):
            function(jnp.ones((1, 2)), jnp.ones((2, 5)))
        with pytest.raises(
            ValueError, match=r"stride must be one number, or one for each of 3 axes, got \(1, 2\)"
        ):
            function(x if function is conv else jnp.ones((1, 2, 2, 2, 5)), kernel, stride=(1, 2))
    with pytest.raises(ValueError, match="same number of spatial axes"):
        grouped_conv(x, kernel[0], groups=2)
    with pytest.raises(ValueError, match=r"samples \(.*smaller than the kernel"):
        conv(x[:, :1], kernel, padding=1)
    audio = jnp.ones((2, 16, 4))
    with pytest.raises(ValueError, match=r"^samples have 4 channels, .* needs 3$"):
        conv(audio, jnp.ones((3, 3, 5)))
    with pytest.raises(TypeError, match=r"^samples and kernel must have one type"):
        conv(audio, jnp.ones((3, 4, 5), jnp.bfloat16))
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        conv(x, kernel, stride=0)
    with pytest.raises(ValueError, match="a padding of 3 leaves nothing"):
        conv_transpose(jnp.ones((1, 2, 2, 2, 5)), kernel, padding=3)


# Resampling. The reference is the separable product: one matrix an axis, written from the definition.

TAPS = np.array([0.1, 0.5, -0.2, 0.9, 0.3])
BINOMIAL = [1, 3, 3, 1]


def matrix(size, taps, up, down, low, high):
    """Returns the matrix that inserts zeros after every entry, pads, filters, and keeps every `down`-th entry."""
    f = np.asarray(taps) / np.sum(taps)
    grown = np.zeros((size * up + low + high, size))
    grown[low + up * np.arange(size), np.arange(size)] = 1
    rows = [f[::-1] @ grown[start : start + len(f)] for start in range(len(grown) - len(f) + 1)]
    return np.stack(rows)[::down]


def separable(x, *matrices):
    for axis, m in enumerate(matrices, 1):
        x = jnp.moveaxis(jnp.tensordot(m, x, axes=(1, axis)), 0, axis)
    return x


def ends(taps, up, down):
    """Returns the zeros before and after an axis: its ends stay where they are, and a spare one goes before."""
    if up > 1:
        low = (len(taps) + up - 1) // 2
        return low, len(taps) - 1 - low
    spare = len(taps) - down
    return -(-spare // 2), spare // 2


@pytest.mark.parametrize("form", ["native", "shifts", "strides"])
@pytest.mark.parametrize(
    "size", [pytest.param((6,), id="1d"), pytest.param((2, 4, 6), marks=pytest.mark.slow, id="3d")]
)
def test_resampling_is_the_separable_product(size, form, monkeypatch):
    """Value, gradient and its gradient of all three functions."""
    monkeypatch.setitem(FORMULATIONS, default_platform(), formulations()._replace(resample=form))
    x, rank = np.random.default_rng(0).normal(size=(2, *size, 3)), len(size)

    def ours(x):
        parts = upsample(x, TAPS, gain=0.7), downsample(x, BINOMIAL, gain=0.7), fir_filter(x, TAPS, gain=0.7)
        return jnp.concatenate([part.ravel() for part in parts])

    def theirs(x):
        up = separable(x, *(matrix(n, TAPS, 2, 1, *ends(TAPS, 2, 1)) for n in size)) * 2**rank
        down = separable(x, *(matrix(n, BINOMIAL, 1, 2, *ends(BINOMIAL, 1, 2)) for n in size))
        same = separable(x, *(matrix(n, TAPS, 1, 1, *ends(TAPS, 1, 1)) for n in size))
        return 0.7 * jnp.concatenate([part.ravel() for part in (up, down, same)])

    with jax.enable_x64(True):
        compare(ours, theirs, [x])


def test_a_factor_for_each_axis():
    """A video whose frames are as many as before, and one with three factors."""
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 6, 2)))
        flat = upsample(x.reshape(6, 4, 6, 2), BINOMIAL, gain=0.7)
        found = upsample(x, BINOMIAL, (1, 2, 2), gain=0.7)
        np.testing.assert_allclose(found, flat.reshape(2, 3, 8, 12, 2), rtol=1e-12, atol=1e-14)
        matrices = [matrix(n, BINOMIAL, 1, f, *ends(BINOMIAL, 1, f)) for n, f in ((3, 3), (6, 2))]
        expected = separable(x, matrices[0], np.eye(4), matrices[1])
        np.testing.assert_allclose(downsample(x, BINOMIAL, (3, 1, 2)), expected, rtol=1e-12, atol=1e-14)


def test_what_cannot_be_resampled_is_refused():
    x = jnp.ones((1, 4, 6, 8, 3))
    with pytest.raises(ValueError, match="4 x 6 x 8 cannot be 4 times smaller"):
        downsample(x, BINOMIAL, 4)
    with pytest.raises(ValueError, match=r"factor must be one number, or one for each of 3 axes, got \(2, 2\)"):
        upsample(x, BINOMIAL, (2, 2))
    with pytest.raises(ValueError, match="factor must be at least 1, got 0"):
        upsample(x, BINOMIAL, (0, 1, 1))
    with pytest.raises(ValueError, match=r"1 to 3 axes S, got float32 \(1, 1, 4, 6, 8, 3\)"):
        upsample(x[None], BINOMIAL)
    with pytest.raises(ValueError, match="longer than an image of 4 x 6 x 8"):
        fir_filter(x, [1] * 7, padding=1)
