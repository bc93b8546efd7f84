"""Tests the layers of StyleGAN2 against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.models.layers import equalized, styled
from gan_jax.ops import modulated_conv
from small_stylegan2 import KEY, init

pytestmark = pytest.mark.usefixtures("quick_compile")


def up_by_formula(x, kernel, style, taps):
    """Convolves each sample with its own kernel, with zeros between pixels, then filters; NumPy or JAX."""
    k, t = kernel.shape[0], len(taps)
    kernels = kernel[None] * style[:, None, None, :, None]
    kernels = kernels / jnp.sqrt(jnp.sum(kernels**2, axis=(1, 2, 3), keepdims=True) + 1e-8)
    n, h, w, _ = x.shape
    spread = jnp.zeros((n, 2 * h + k - 2, 2 * w + k - 2, kernel.shape[3]))
    for a in range(k):
        for b in range(k):
            part = jnp.einsum("nhwi,nio->nhwo", x, kernels[:, a, b])
            spread = spread.at[:, a : a + 2 * h - 1 : 2, b : b + 2 * w - 1 : 2].add(part)
    f = np.asarray(taps, np.float64) / np.sum(taps)
    spare = t - 1 - k
    ends = ((spare + 1) // 2 + 1, spare // 2 + 1)
    padded = jnp.pad(spread, ((0, 0), ends, ends, (0, 0)))
    # A convolution flips the taps.
    return sum(
        4 * f[t - 1 - a] * f[t - 1 - b] * padded[:, a : a + 2 * h, b : b + 2 * w]
        for a in range(t)
        for b in range(t)
    )


def up_inputs(k):
    draw = np.random.default_rng(0)
    return draw.normal(size=(2, 5, 6, 3)), draw.normal(size=(k, k, 3, 2)), 1 + draw.normal(size=(2, 3))


@pytest.mark.parametrize(("k", "taps"), [(1, [1, 3, 3, 1]), (3, [1, 2, 4])])
def test_modulated_up_convolution_of_other_kernels(k, taps):
    with jax.enable_x64(True):
        both = jax.jit(lambda *i: (modulated_conv(*i, up=taps), up_by_formula(*i, taps)))(*up_inputs(k))
        np.testing.assert_allclose(*both, rtol=1e-9, atol=1e-9)
    assert both[0].shape == (2, 10, 12, 2)


def test_modulated_up_convolution():
    """Compares the value, the gradients by all inputs, and the gradient of a squared gradient, in float64."""
    weights = np.random.default_rng(1).normal(size=(2, 10, 12, 2))

    def orders(function):
        def scalar(*inputs):
            out = function(*inputs)
            return jnp.sum(weights * jnp.tanh(out)), out

        def penalty(*inputs):
            grads, out = jax.grad(scalar, (0, 1, 2), has_aux=True)(*inputs)
            return jnp.sum(grads[2] ** 2), (grads, out)

        return jax.grad(penalty, (0, 1, 2), has_aux=True)

    with jax.enable_x64(True):
        found = jax.jit(orders(lambda *i: modulated_conv(*i, up=[1, 3, 3, 1])))(*up_inputs(3))
        expected = jax.jit(orders(lambda *i: up_by_formula(*i, [1, 3, 3, 1])))(*up_inputs(3))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), found, expected)


def test_up_convolution_keeps_what_is_constant():
    """Without demodulation, a kernel that sums to one keeps a constant image, away from the border."""
    kernel = jnp.full((3, 3, 1, 1), 1 / 9)
    y = modulated_conv(jnp.ones((1, 6, 6, 1)), kernel, jnp.ones((1, 1)), demodulate=False, up=[1, 3, 3, 1])
    np.testing.assert_allclose(y[:, 2:-2, 2:-2], 1.0, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_a_styled_layer_keeps_the_second_moment(scale):
    """Demodulation gives variance 1 for any style; then E act(x)^2 = 2 (1 + 0.2^2) / 2 = 1.04."""
    layer = styled.StyledConv(24)
    draw = np.random.default_rng(1)
    x = jnp.asarray(draw.normal(size=(4, 16, 16, 16)), jnp.float32)
    w = jnp.asarray(scale * draw.normal(size=(4, 8)), jnp.float32)
    y = jax.jit(lambda: layer.init_with_output(KEY, x, w, None)[0])()
    np.testing.assert_allclose(np.mean(np.square(y[:, 1:-1, 1:-1])), 1.04, atol=0.05)  # the border reads zeros


def test_activation():
    x = np.linspace(-3, 3, 13)
    leaky = np.where(x > 0, x, 0.2 * x) * np.sqrt(2)
    np.testing.assert_allclose(equalized.activate(jnp.asarray(x)), leaky, rtol=1e-6)
    half = equalized.activate(jnp.asarray(x), gain=0.5, clamp=2.0)  # the gain also scales the clamp
    np.testing.assert_allclose(half, np.clip(0.5 * leaky, -1.0, 1.0), rtol=1e-6)
    np.testing.assert_allclose(equalized.activate(jnp.asarray(x), clamp=2.0, linear=True), np.clip(x, -2, 2))


@pytest.mark.parametrize("lr_mul", [1.0, 0.01])
def test_equalised_learning_rate(lr_mul):
    """The kernel starts as N(0, 1) / m, the output as N(0, 1); a change of the kernel counts m / sqrt(I)."""
    layer = equalized.EqualDense(64, lr_mul=lr_mul, bias_init=0.5)
    x = jax.random.normal(KEY, (50, 100))
    params = init(layer, x)["params"]
    assert np.std(params["kernel"]) * lr_mul == pytest.approx(1.0, rel=0.03)
    y = layer.apply({"params": params}, x)
    np.testing.assert_allclose(y, x @ params["kernel"] * lr_mul / 10 + 0.5, rtol=1e-4, atol=1e-4)
    assert np.std(y) == pytest.approx(1.0, rel=0.05)
    moved = jax.tree.map(lambda p: p + 0.3, params)
    by = np.asarray(layer.apply({"params": moved}, x) - y)
    expected = 0.3 * lr_mul * (np.sum(x, axis=1) / 10 + 1)  # the bias too
    np.testing.assert_allclose(by, np.broadcast_to(expected[:, None], by.shape), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("down", [False, True])
def test_equalised_convolution(down):
    """Compares with loops in NumPy: with `down` [1, 3, 3, 1] and a stride of 2; bias, leaky ReLU and clamp."""
    draw = np.random.default_rng(2)
    layer = equalized.EqualConv(3, down=down, clamp=0.9)
    x = draw.normal(size=(2, 6, 6, 2))
    params = {"kernel": jnp.asarray(draw.normal(size=(3, 3, 2, 3)), jnp.float32), "bias": jnp.arange(3.0)}
    assert jax.tree.map(jnp.shape, init(layer, jnp.asarray(x))["params"]) == jax.tree.map(jnp.shape, params)
    size, stride, pad = (6, 1, 1) if not down else (3, 2, 0)
    if down:
        f = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
        wide = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
        x_used = sum(f[a, b] * wide[:, a : a + 7, b : b + 7] for a in range(4) for b in range(4))
    else:
        x_used = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    y = np.zeros((2, size, size, 3))
    for i in range(size):
        for j in range(size):
            window = x_used[:, stride * i : stride * i + 3, stride * j : stride * j + 3]
            y[:, i, j] = np.einsum("nabi,abio->no", window, np.asarray(params["kernel"])) / np.sqrt(18)
    y = y + np.arange(3.0)
    y = np.where(y > 0, y, 0.2 * y) * np.sqrt(2) * 0.7
    found = layer.apply({"params": params}, jnp.asarray(x, jnp.float32), 0.7)
    np.testing.assert_allclose(found, np.clip(y, -0.63, 0.63), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("batch", "group"), [(6, 3), (6, 2), (2, 4), (4, 1)])
def test_minibatch_deviation(batch, group):
    x = np.random.default_rng(3).normal(size=(batch, 2, 3, 4))
    y = equalized.minibatch_deviation(jnp.asarray(x, jnp.float32), group)
    np.testing.assert_array_equal(y[..., :4], np.asarray(x, np.float32))
    g = min(group, batch)
    for start in range(0, batch, g):
        expected = np.mean(np.std(x[start : start + g], axis=0))
        np.testing.assert_allclose(y[start : start + g, ..., 4], expected, rtol=1e-5, atol=1.1e-4)
    assert y.shape == (batch, 2, 3, 5)


@pytest.mark.parametrize(("batch", "group"), [(6, 3), (6, 2), (8, 2), (2, 4), (4, 1)])
def test_minibatch_deviation_of_strided_groups(batch, group):
    """As in the authors' code: with B samples in groups of G, sample i is in group i mod (B / G)."""
    x = np.random.default_rng(3).normal(size=(batch, 2, 3, 4))
    y = equalized.minibatch_deviation(jnp.asarray(x, jnp.float32), group, strided=True)
    groups = batch // min(group, batch)
    for i in range(batch):
        members = [j for j in range(batch) if j % groups == i % groups]
        assert len(members) == min(group, batch)
        expected = np.mean(np.sqrt(np.mean((x[members] - np.mean(x[members], axis=0)) ** 2, axis=0) + 1e-8))
        np.testing.assert_allclose(y[i, ..., 4], expected, rtol=1e-5)


def test_minibatch_deviation_refuses_a_batch_it_does_not_divide():
    with pytest.raises(ValueError, match="groups of 4 do not divide a batch of 6"):
        equalized.minibatch_deviation(jnp.zeros((6, 2, 2, 1)), 4)


def test_types_of_maps():
    maps = styled.Maps((32, 32), 64, 8, 2, jnp.bfloat16)
    assert maps.sides == [4, 8, 16, 32]
    assert [maps.channels(s) for s in maps.sides] == [8, 8, 4, 2]
    assert [maps.type(s) == jnp.bfloat16 for s in maps.sides] == [False, False, True, True]
    assert styled.Maps((32, 32), 64, 8, 9, jnp.bfloat16).type(4) == jnp.float32
