"""Compares resampling, to the second derivative in float64, with one depthwise convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from derivatives import compare
from gan_jax.ops import FORMULATIONS, downsample, filter2d, upsample
from gan_jax.ops.backend import default_platform, formulations

pytestmark = [pytest.mark.usefixtures("quick_compile"), pytest.mark.usefixtures("form")]

BINOMIAL = [1, 3, 3, 1]
# (taps, factor): even and odd lengths, symmetric or not.
TABLE = {
    "binomial": (BINOMIAL, 2),
    "lopsided": ([0.1, 0.5, -0.2, 0.9, 0.3], 2),
    "short": ([0.2, 0.5, 0.9], 2),
    "factor 3": ([1, 2, 3, 4, 2, 1, 1], 3),
}
CASES = [(form, case) for form in ("shifts", "strides") for case in TABLE if (form, case) != ("shifts", "short")]
CASES += [("native", "lopsided")]
QUICK = [("shifts", "lopsided"), ("strides", "lopsided"), ("strides", "factor 3"), ("native", "lopsided")]
ALL = pytest.mark.parametrize(
    ("form", "case"),
    [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in CASES],
    indirect=["form"],
)


@pytest.fixture(params=["native", "shifts", "strides"])
def form(request, monkeypatch):
    row = formulations()._replace(resample=request.param)
    monkeypatch.setitem(FORMULATIONS, default_platform(), row)


def reference(x, taps, up, down, low, high, gain):
    """Inserts zeros after every pixel, pads with zeros, filters, and keeps every `down`-th pixel."""
    taps = np.asarray(taps) / np.sum(taps)
    channels = x.shape[3]
    kernel = np.broadcast_to(
        (gain * np.outer(taps, taps))[::-1, ::-1, None, None], (*[len(taps)] * 2, 1, channels)
    )
    grown = lax.pad(x, np.zeros((), x.dtype), [(0, 0, 0), (0, up - 1, up - 1), (0, up - 1, up - 1), (0, 0, 0)])
    return lax.conv_general_dilated(
        grown, kernel, (down, down), [(low, high)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=channels,
    )  # fmt: skip


def images(*size, channels=3):
    return np.random.default_rng(0).normal(size=(2, *size, channels))


@ALL
def test_upsample_and_its_derivatives(case):
    taps, factor = TABLE[case]
    over = len(taps) - 1  # the filter shortens the image by this; a pixel is in the middle of its zeros
    low = (over + factor) // 2
    with jax.enable_x64(True):
        compare(
            lambda x: upsample(x, taps, factor, gain=0.7),
            lambda x: reference(x, taps, factor, 1, low, over - low, 0.7 * factor**2),
            [images(3, 4)],
        )
        assert upsample(jnp.ones((2, 3, 4, 3)), taps, factor).shape == (2, 3 * factor, 4 * factor, 3)


@ALL
def test_downsample_and_its_derivatives(case):
    taps, factor = TABLE[case]
    over = len(taps) - factor
    low = -(-over // 2)
    with jax.enable_x64(True):
        compare(
            lambda x: downsample(x, taps, factor, gain=0.7),
            lambda x: reference(x, taps, 1, factor, low, over - low, 0.7),
            [images(2 * factor, 3 * factor)],
        )
        assert downsample(jnp.ones((2, 2 * factor, 3 * factor, 3)), taps, factor).shape == (2, 2, 3, 3)


@pytest.mark.parametrize(
    ("case", "padding"),
    [
        *(pytest.param("binomial", padding, marks=pytest.mark.slow) for padding in (None, 1)),
        ("lopsided", None),
        ("lopsided", (3, 0)),
    ],
)
def test_filter_and_its_derivatives(case, padding):
    taps, t = TABLE[case][0], len(TABLE[case][0])
    low, high = {None: (t // 2, (t - 1) // 2), 1: (1, 1)}.get(padding, padding)
    with jax.enable_x64(True):
        compare(
            lambda x: filter2d(x, taps, padding=padding, gain=0.7),
            lambda x: reference(x, taps, 1, 1, low, high, 0.7),
            [images(7, 6)],
        )
        if padding is None:
            assert filter2d(jnp.ones((2, 7, 6, 3)), taps).shape == (2, 7, 6, 3)


def impulse(size, row, column):
    return jnp.zeros((1, size, size, 1)).at[0, row, column].set(1.0)


def test_impulse_response():
    """The response to an impulse is the outer product of the taps, in their order and at the right position."""
    taps = np.array([1.0, 2.0, 4.0, 9.0]) / 16
    expected = np.zeros((8, 8))
    expected[4:8, 2:6] = np.outer(taps, taps)
    np.testing.assert_allclose(filter2d(impulse(8, 5, 3), taps)[0, :, :, 0], expected, atol=1e-6)
    # Pixel (2, 1) of 4 x 4 covers rows 4, 5 and columns 2, 3 of 8 x 8, in the middle of its taps.
    expected = np.zeros((8, 8))
    expected[3:7, 1:5] = 4 * np.outer(taps, taps)
    np.testing.assert_allclose(upsample(impulse(4, 2, 1), taps)[0, :, :, 0], expected, atol=1e-6)
    # Row 5 adds to row 2 by tap 1 and to row 3 by tap 3; column 2 to column 0 by tap 0 and to column 1 by tap 2.
    expected = np.zeros((4, 4))
    expected[2:4, 0:2] = np.outer(taps[[1, 3]], taps[[0, 2]])
    np.testing.assert_allclose(downsample(impulse(8, 5, 2), taps)[0, :, :, 0], expected, atol=1e-6)


def test_two_equal_taps_repeat_and_average():
    x = jnp.asarray(images(4, 6), jnp.float32)
    np.testing.assert_allclose(upsample(x, [1, 1]), np.repeat(np.repeat(x, 2, 1), 2, 2), rtol=1e-6)
    average = np.asarray(x).reshape(2, 2, 2, 3, 2, 3).mean((2, 4))
    np.testing.assert_allclose(downsample(x, [1, 1]), average, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("resample", [filter2d, upsample, downsample])
def test_a_constant_stays_a_constant(resample):
    """Away from the border, beyond which there are zeros, a constant is only multiplied by the gain."""
    y = jax.jit(lambda x: resample(x, BINOMIAL, gain=2.0))(jnp.full((1, 18, 18, 2), 0.3))
    np.testing.assert_allclose(y[:, 2:-2, 2:-2], 0.6, rtol=1e-6)
    assert np.ptp(y) > 0.05


@pytest.mark.parametrize("resample", [filter2d, upsample, downsample])
def test_types_are_kept(resample):
    """Results are rounded once: 16-bit images are summed in float32, also in the gradient."""
    dtype = jnp.bfloat16

    def run(x, cotangent):
        y, back = jax.vjp(lambda x: resample(x, BINOMIAL), x)
        return y, back(cotangent)[0]

    x = jnp.asarray(images(8, 8), dtype)
    size = {filter2d: 8, upsample: 16, downsample: 4}[resample]
    cotangent = jnp.asarray(images(size, size)[::-1], dtype)
    found = jax.jit(run)(x, cotangent)
    exact = jax.jit(run)(x.astype(jnp.float32), cotangent.astype(jnp.float32))
    for low, high in zip(found, exact):
        assert (low.dtype, high.dtype) == (dtype, jnp.float32)
        np.testing.assert_allclose(low.astype(jnp.float32), high, rtol=float(jnp.finfo(dtype).eps), atol=1e-6)


def test_forward_mode():
    x = jnp.asarray(images(4, 4), jnp.float32)

    def every(x):
        return [resample(x, BINOMIAL) for resample in (filter2d, upsample, downsample)]

    moved, again = jax.jit(lambda x: (jax.jvp(every, (x,), (x[::-1],))[1], every(x[::-1])))(x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), moved, again)


def test_bad_arguments_are_refused():
    x = jnp.ones((1, 4, 6, 3))
    for resample in (filter2d, upsample, downsample):
        with pytest.raises(ValueError, match=r"floating samples \[N, \*S, C\].*, got uint8"):
            resample(x.astype(jnp.uint8), BINOMIAL)
        with pytest.raises(ValueError, match=r"\[N, .*C\].*, got float32 \(6, 3\)"):
            resample(x[0, 0], BINOMIAL)
        with pytest.raises(ValueError, match="sum other than zero"):
            resample(x, [0.1, 0.2, -0.3])
        with pytest.raises(ValueError, match="taps must be finite"):
            resample(x, [1.0, float("nan")])
        with pytest.raises(ValueError, match=r"vector of at least \d numbers, got shape \(4, 4\)"):
            resample(x, np.ones((4, 4)))
    for resample in (upsample, downsample):
        with pytest.raises(ValueError, match="at least 3 numbers"):
            resample(x, [1, 1], 3)
        with pytest.raises(ValueError, match="factor must be at least 1, got 0"):
            resample(x, BINOMIAL, 0)
    with pytest.raises(ValueError, match="4 x 6 cannot be 4 times smaller"):
        downsample(x, BINOMIAL, 4)
    with pytest.raises(ValueError, match=r"filter2d needs .*\[N, H, W, C\], got float32 \(4, 6, 3\)"):
        filter2d(x[0], BINOMIAL)
    with pytest.raises(ValueError, match="must not be negative"):
        filter2d(x, BINOMIAL, padding=(2, -1))
    with pytest.raises(ValueError, match="longer than an image of 4 x 6"):
        filter2d(x, [1] * 7, padding=1)


@pytest.mark.parametrize("form", ["strides"], indirect=True)
def test_the_platform_compiled_for_chooses_the_formulation():
    """Shifts interleave pixels by a concatenation; strides insert zeros by padding."""

    def text(platform):
        traced = jax.jit(jax.grad(lambda x: jnp.sum(upsample(x, BINOMIAL) ** 2))).trace(jnp.ones((2, 4, 4, 3)))
        return traced.lower(lowering_platforms=(platform,)).as_text()

    assert "concatenate" not in text("cpu")  # the fixture's row
    assert "concatenate" not in text("cuda")
    assert "concatenate" in text("tpu")


@pytest.mark.parametrize("resample", [upsample, downsample, filter2d])
def test_any_number_of_images(resample):
    """The number is a symbol, as in a network that is exported for any batch size."""
    (n,) = export.symbolic_shape("n")
    x = images(4, 6).astype(np.float32)
    function = jax.jit(lambda x: resample(x, BINOMIAL))
    program = export.export(function)(jax.ShapeDtypeStruct((n, *x.shape[1:]), x.dtype))
    np.testing.assert_array_equal(program.call(x), function(x))


def test_vmap():
    x = images(3, 4)
    stacked = jnp.stack([x, 2 * x], axis=2)
    batched = jax.vmap(lambda x: jax.grad(lambda x: jnp.sum(upsample(x, BINOMIAL) ** 2))(x), 2, 2)(stacked)
    alone = jax.grad(lambda x: jnp.sum(upsample(x, BINOMIAL) ** 2))(jnp.asarray(x))
    np.testing.assert_allclose(batched, np.stack([alone, 2 * alone], axis=2), rtol=1e-5)
