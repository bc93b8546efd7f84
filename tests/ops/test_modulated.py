"""Compares modulated convolution, to the second derivative in float64, with one kernel per sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from derivatives import compare
from gan_jax.ops import modulated_conv
from quick import some

pytestmark = pytest.mark.usefixtures("quick_compile")

KERNELS = {"3x3": (3, 1), "3x3 unpadded": (3, 0), "1x1": (1, 0)}


def reference(x, kernel, style, demodulate, padding, eps):
    """Convolves each sample with its own kernel."""
    images = []
    for image, s in zip(x, style):
        w = kernel * s[:, None]
        if demodulate:
            w = w / jnp.sqrt(jnp.sum(w**2, axis=(0, 1, 2)) + eps)
        images.append(
            lax.conv_general_dilated(
                image[None], w, (1, 1), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        )
    return jnp.concatenate(images)


def inputs(k, seed=0):
    """Returns `x`, `kernel`, `style`."""
    draw = np.random.default_rng(seed)
    return draw.normal(size=(3, 5, 4, 6)), draw.normal(size=(k, k, 6, 4)), 1 + draw.normal(size=(3, 6))


@pytest.mark.parametrize("kernel", some(KERNELS, "3x3"))
@pytest.mark.parametrize("demodulate", [True, False])
def test_value_gradient_and_its_gradient(kernel, demodulate):
    k, padding = KERNELS[kernel]
    options = {"demodulate": demodulate, "padding": padding, "eps": 0.3}  # an eps that is large enough to matter
    with jax.enable_x64(True):
        compare(
            lambda x, w, s: modulated_conv(x, w, s, **options),
            lambda x, w, s: reference(x, w, s, **options),
            inputs(k),
        )


def test_demodulation_gives_unit_variance():
    draw = np.random.default_rng(1)
    x, kernel, style = draw.normal(size=(4, 32, 32, 8)), draw.normal(size=(3, 3, 8, 16)), draw.normal(size=(4, 8))
    y = modulated_conv(*(jnp.asarray(a, jnp.float32) for a in (x, kernel, 20 * style)))
    np.testing.assert_allclose(jnp.std(y, axis=(1, 2)), 1, atol=0.2)


@pytest.mark.parametrize(
    "dtype", [jnp.bfloat16, *(pytest.param(t, marks=pytest.mark.slow) for t in (jnp.float32, jnp.float16))]
)
@pytest.mark.parametrize("demodulate", [True, False])
def test_types_are_kept(dtype, demodulate):
    """Parameters and their gradients are float32, as a network keeps them."""
    x, kernel, style = (jnp.asarray(a, jnp.float32) for a in inputs(3))
    options = {"demodulate": demodulate, "padding": 1}

    def scalar(parameters, function, x):
        y = function(x, *parameters)
        assert y.dtype == x.dtype
        return jnp.mean(y.astype(jnp.float32) ** 2)

    run = jax.jit(jax.value_and_grad(scalar), static_argnums=1)
    found = run((kernel, style), lambda *a: modulated_conv(*a, **options), x.astype(dtype))
    exact = run((kernel, style), lambda *a: reference(*a, **options, eps=1e-8), x)
    tolerance = 20 * float(jnp.finfo(dtype).eps)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(exact)):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * float(jnp.max(jnp.abs(b))))


# At these scales a style, or the sum of its squares, leaves the range of float16, and of float32.
@pytest.mark.parametrize(("dtype", "scale"), [(jnp.float16, 1e6), (jnp.bfloat16, 1e25), (jnp.bfloat16, 1e-20)])
def test_16_bits_are_safe_at_any_scale(dtype, scale):
    x, kernel, style = (jnp.asarray(a, jnp.float32) for a in inputs(3))
    exact = jax.jit(lambda *inputs: reference(*inputs, True, 1, 1e-8))(x, kernel, style)
    modulated = jax.jit(lambda *inputs: modulated_conv(*inputs, padding=1))
    for w, s in ((kernel, style * scale), (kernel * scale, style)):
        y = modulated(x.astype(dtype), w, s)
        np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=30 * float(jnp.finfo(dtype).eps))


def test_a_style_of_zeros_gives_zeros():
    x, kernel, style = (jnp.asarray(a, jnp.bfloat16) for a in inputs(3))
    y, back = jax.vjp(jax.jit(lambda w, s: modulated_conv(x, w, s, padding=1)), kernel, style.at[0].set(0))
    assert not np.any(y[0])
    assert np.any(y[1])
    assert all(np.isfinite(g.astype(jnp.float32)).all() for g in back(jnp.ones_like(y)))


def test_bad_arguments_are_refused():
    x, kernel, style = (jnp.asarray(a) for a in inputs(3))
    with pytest.raises(ValueError, match="the kernel needs 5 channels, but the images have 6"):
        modulated_conv(x, kernel[:, :, :5], style)
    with pytest.raises(ValueError, match=r"the style must be \[B, I\] = \(3, 6\), got \(6,\)"):
        modulated_conv(x, kernel, style[0])
