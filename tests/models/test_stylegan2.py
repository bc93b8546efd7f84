"""Tests StyleGAN2: parameter counts, each part against NumPy, noise, style mixing, the average of w, and steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from devices import run_json
from gan_jax.models import stylegan2
from gan_jax.models.layers import equalized, styled
from gan_jax.ops import modulated_conv

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)
SMALL = {"w_size": 6, "mapping_layers": 2, "channel_max": 4}


def init(network, *inputs, seed=0, **keywords):
    return jax.jit(lambda: network.init(jax.random.key(seed), *inputs, **keywords))()


def shapes(network, *inputs, **keywords):
    return jax.eval_shape(lambda: network.init_with_output(KEY, *inputs, **keywords))


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("kind", "size", "options", "expected"),
    [
        ("Generator", 32, {"mapping_layers": 2, "classes": 10}, 20_215_315),
        ("Generator", 32, {"mapping_layers": 2}, 19_947_539),
        ("Discriminator", 32, {"architecture": "orig", "group": 32, "classes": 10}, 23_089_664),
        ("Discriminator", 32, {"architecture": "orig", "group": 32}, 20_720_641),
        ("Generator", 256, {"channel_base": 16384}, 24_767_458),
        ("Discriminator", 256, {"channel_base": 16384, "group": 8}, 24_001_089),
    ],
)
def test_parameters_are_as_many_as_ada_s(kind, size, options, expected):
    label = jnp.zeros((1,), int) if "classes" in options else None
    if kind == "Generator":
        network = stylegan2.Generator((size, size, 3), **options)
        image, variables = shapes(network, jnp.zeros((1, 512)), label, train=False)
        assert (image.shape, image.dtype) == ((1, size, size, 3), jnp.float32)
    else:
        logits, variables = shapes(stylegan2.Discriminator(**options), jnp.zeros((1, size, size, 3)), label)
        assert (logits.shape, logits.dtype) == ((1,), jnp.float32)
    assert count(variables) == expected


@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize(("kind", "rival"), [("skip", "skip"), ("resnet", "orig"), ("skip", "resnet")])
def test_sizes_and_architectures(size, kind, rival):
    generator = stylegan2.Generator((size, size, 2), architecture=kind, **SMALL)
    image, _ = shapes(generator, jnp.zeros((3, 5)), train=True)
    assert image.shape == (3, size, size, 2)
    logits, _ = shapes(stylegan2.Discriminator(architecture=rival, channel_max=4, group=3), jnp.zeros(image.shape))
    assert logits.shape == (3,)


@pytest.mark.parametrize("size", [0, 4, 12, 28, 48])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match=rf"pixels, not {size}: resize the data"):
        shapes(stylegan2.Generator((size, size, 3)), jnp.zeros((2, 5)), train=False)
    with pytest.raises(ValueError, match=rf"pixels, not {size}: resize the data"):
        shapes(stylegan2.Discriminator(), jnp.zeros((2, size, size, 3)))


def test_invalid_arguments_are_refused():
    image = jnp.zeros((2, 8, 8, 3))
    with pytest.raises(ValueError, match="architecture must be one of skip, resnet, got 'orig'"):
        shapes(stylegan2.Generator((8, 8, 3), architecture="orig"), jnp.zeros((2, 5)), train=False)
    with pytest.raises(ValueError, match="architecture must be one of resnet, orig, skip, got 'plain'"):
        shapes(stylegan2.Discriminator(architecture="plain"), image)
    with pytest.raises(ValueError, match=r"style_mixing is a probability, so it must be from 0 to 1, got 1\.5"):
        shapes(stylegan2.Generator((8, 8, 3), style_mixing=1.5), jnp.zeros((2, 5)), train=False)
    with pytest.raises(ValueError, match=r"EqualConv\(down=True\) needs a kernel of size 3, not 1"):
        shapes(equalized.EqualConv(3, size=1, down=True), image)
    with pytest.raises(ValueError, match="truncation must be a Python number"):
        jax.eval_shape(lambda t: shapes(GENERATOR, LATENTS, LABELS, train=False, truncation=t), 0.5)
    with pytest.raises(ValueError, match="a network with 3 classes needs labels"):
        shapes(stylegan2.Generator((8, 8, 3), classes=3), jnp.zeros((2, 5)), train=False)
    with pytest.raises(ValueError, match="a network with 3 classes needs labels"):
        shapes(stylegan2.Discriminator(classes=3), image)
    with pytest.raises(ValueError, match="padding must be 0 together with up, got 1"):
        modulated_conv(image, jnp.zeros((3, 3, 3, 1)), jnp.zeros((2, 3)), padding=1, up=[1, 3, 3, 1])
    with pytest.raises(ValueError, match="up with 2 taps needs a square kernel of size 2 or less"):
        modulated_conv(image, jnp.zeros((4, 4, 3, 1)), jnp.zeros((2, 3)), up=[1, 1])


# Layers against their formulas.


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


def test_minibatch_deviation_refuses_a_batch_it_does_not_divide():
    with pytest.raises(ValueError, match="groups of 4 do not divide a batch of 6"):
        equalized.minibatch_deviation(jnp.zeros((6, 2, 2, 1)), 4)


def test_types_of_maps():
    maps = styled.Maps(32, 64, 8, 2, jnp.bfloat16)
    assert maps.sides == [4, 8, 16, 32]
    assert [maps.channels(s) for s in maps.sides] == [8, 8, 4, 2]
    assert [maps.type(s) == jnp.bfloat16 for s in maps.sides] == [False, False, True, True]
    assert styled.Maps(32, 64, 8, 9, jnp.bfloat16).type(4) == jnp.float32


# The mapping.

GENERATOR = stylegan2.Generator((8, 8, 2), classes=3, **SMALL)
LABELS = jnp.asarray([0, 1, 2, 2])
LATENTS = jax.random.normal(jax.random.key(1), (4, 5))
KEYS = jax.random.split(jax.random.key(2), 4)


@pytest.fixture(scope="module")
def variables():
    """Returns variables of GENERATOR with noise strengths and an average of w that are not zero."""
    initial = init(GENERATOR, LATENTS, LABELS, train=False)
    assert set(initial) == {"params", "w_avg"}
    np.testing.assert_array_equal(initial["w_avg"]["mean"], 0)  # `init` does not update it

    def louder(path, x):
        return x + 0.5 if "noise_strength" in jax.tree_util.keystr(path) else x

    params = jax.tree_util.tree_map_with_path(louder, initial["params"])
    return {"params": params, "w_avg": {"mean": jnp.linspace(-1.0, 1.0, 6)}}


def mapped_by_formula(params, latents, label):
    """Computes w `[B, W]` in float64."""
    rows = lambda x: x / np.sqrt(np.mean(x**2, axis=1, keepdims=True))  # noqa: E731
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["to_w"])
    onehot = np.eye(3)[np.asarray(label)]
    embedded = onehot @ p["embed"]["kernel"] / np.sqrt(3) + p["embed"]["bias"]
    x = np.concatenate([rows(np.asarray(latents, np.float64)), rows(embedded)], axis=1)
    for name in ("dense_0", "dense_1"):
        x = x @ p[name]["kernel"] * 0.01 / np.sqrt(x.shape[1]) + 0.01 * p[name]["bias"]
        x = np.where(x > 0, x, 0.2 * x) * np.sqrt(2)
    return x


def mapping(variables, latents=LATENTS, network=GENERATOR, mutable=False, label=LABELS, **keywords):
    keywords = {"train": False, "method": "mapping", **keywords}
    return network.apply(variables, latents, label, mutable=["w_avg"] if mutable else False, **keywords)


def test_mapping_by_formula(variables):
    expected = mapped_by_formula(variables["params"], LATENTS, LABELS)
    ws = mapping(variables)
    assert ws.shape == (4, 4, 6)
    for layer in range(4):
        np.testing.assert_allclose(ws[:, layer], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mapping(variables, 7 * LATENTS), ws, rtol=1e-4, atol=1e-5)  # latents are normalised


def test_mean_of_w_moves_in_training(variables):
    w = mapped_by_formula(variables["params"], LATENTS, LABELS)
    old = np.asarray(variables["w_avg"]["mean"])
    _, after = mapping(variables, train=True, mutable=True)
    np.testing.assert_allclose(after["w_avg"]["mean"], 0.995 * old + 0.005 * w.mean(axis=0), rtol=1e-5, atol=1e-6)
    _, still = mapping(variables, mutable=True)
    np.testing.assert_array_equal(still["w_avg"]["mean"], old)


def test_truncation(variables):
    """w becomes w_avg + psi (w - w_avg); with psi = 0 all latents give one image."""
    centre = np.asarray(variables["w_avg"]["mean"])
    ws = mapping(variables)
    np.testing.assert_allclose(
        mapping(variables, truncation=0.3), centre + 0.3 * (ws - centre), rtol=1e-5, atol=1e-6
    )
    draw = jax.jit(
        lambda: [GENERATOR.apply(variables, LATENTS, LABELS, train=False, truncation=t) for t in (0.0, 1.0)]
    )
    images, others = draw()
    np.testing.assert_allclose(images, np.broadcast_to(images[:1], images.shape), rtol=1e-5, atol=1e-6)
    assert np.abs(others - images).max() > 1e-3


def test_style_mixing(variables):
    """In training, a sample has its own w up to a random layer and another w from there, by its own key."""
    network = stylegan2.Generator((8, 8, 2), classes=3, style_mixing=1.0, **SMALL)
    plain = np.asarray(mapping(variables))
    latents, labels = jnp.tile(LATENTS, (4, 1)), jnp.tile(LABELS, 4)
    keys = jax.random.split(jax.random.key(3), 16)
    mixed = jax.jit(lambda z, label, keys: mapping(variables, z, network, label=label, train=True, keys=keys))
    ws = np.asarray(mixed(latents, labels, keys))
    firsts = []
    for i in range(16):
        same = [bool(np.allclose(ws[i, layer], plain[i % 4, layer], atol=1e-6)) for layer in range(4)]
        first = same.index(False)
        assert first >= 1
        assert not any(same[first:])
        np.testing.assert_allclose(ws[i, first:], np.broadcast_to(ws[i, -1:], ws[i, first:].shape), atol=1e-6)
        firsts.append(first)
    assert set(firsts) == {1, 2, 3}
    single = mapping(variables, latents[5:6], network, label=labels[5:6], train=True, keys=keys[5:6])
    np.testing.assert_allclose(single[0], ws[5], atol=1e-6)
    np.testing.assert_array_equal(mapping(variables, network=network, keys=KEYS), plain)
    np.testing.assert_array_equal(mapping(variables, network=network, train=True), plain)


# Noise.


def test_noise_belongs_to_samples(variables):
    draw = jax.jit(lambda ws, keys: GENERATOR.apply(variables, ws, keys=keys, method="synthesis"))
    ws = mapping(variables)
    images = draw(ws, KEYS)
    order = jnp.asarray([2, 0, 3, 1])
    np.testing.assert_allclose(draw(ws[order], KEYS[order]), images[order], rtol=1e-5, atol=1e-6)
    assert np.abs(draw(ws, KEYS[order]) - images).max() > 1e-3
    silent = draw(ws, None)
    assert np.abs(silent - images).max() > 1e-3
    np.testing.assert_array_equal(draw(ws, None), silent)


def test_noise_of_a_layer_is_the_strength_times_one_image(variables):
    """Noise comes before bias and activation, and is the same in all channels; here the activation is linear."""
    layer = styled.StyledConv(3)
    x, w = jnp.ones((4, 6, 6, 2)), jnp.ones((4, 5))
    params = init(layer, x, w, None)["params"]
    # A large bias keeps the leaky ReLU in its linear part.
    params = {**params, "noise_strength": jnp.asarray(0.5), "bias": jnp.full(3, 100.0)}
    noise = np.asarray(layer.apply({"params": params}, x, w, KEYS) - layer.apply({"params": params}, x, w, None))
    expected = 0.5 * np.sqrt(2) * np.asarray(jax.vmap(lambda key: jax.random.normal(key, (6, 6)))(KEYS))
    np.testing.assert_allclose(noise, np.broadcast_to(expected[..., None], noise.shape), atol=1e-4)


# Both networks together.


def test_networks_compute_in_bfloat16_and_return_float32(variables):
    """Images are close to those in float32, gradients are finite, and all results are float32."""
    options = {"classes": 3, "channel_max": 4, "mapping_layers": 1}
    discriminator = init(stylegan2.Discriminator(**options), jnp.zeros((1, 8, 8, 2)), LABELS[:1])

    def loss(both, dtype):
        generator = stylegan2.Generator((8, 8, 2), classes=3, dtype=dtype, **SMALL)
        image = generator.apply(both[0], LATENTS, LABELS, train=False, keys=KEYS)
        logits = stylegan2.Discriminator(**options, dtype=dtype).apply(both[1], image, LABELS)
        return jnp.sum(logits), (image, logits)

    both = variables, discriminator
    low = jax.jit(jax.grad(lambda both: loss(both, jnp.bfloat16), has_aux=True)).trace(both)
    assert "bf16[" in str(low.jaxpr)
    grads, (image, logits) = low.lower().compile()(both)
    assert {x.dtype for x in jax.tree.leaves((grads, image, logits))} == {np.dtype(np.float32)}
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((grads, image, logits)))
    by_label = grads[0]["params"]["to_w"]["embed"]["kernel"], grads[1]["params"]["mapping"]["embed"]["kernel"]
    assert all(np.abs(x).max() > 0 for x in by_label)
    exact = jax.jit(lambda both: loss(both, jnp.float32)[1][0])(both)
    np.testing.assert_allclose(image, exact, atol=0.05 * float(np.abs(exact).max()))
    assert np.abs(image - exact).max() > 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_three_steps():
    """With lazy R1, lazy path length, style mixing and noise, every parameter changes and the averages move."""
    generator = stylegan2.Generator((8, 8, 2), style_mixing=0.9, **SMALL)
    discriminator = stylegan2.Discriminator(channel_max=4, architecture="orig")
    sgd, penalties = gan_jax.optimizers.sgd(0.01), gan_jax.penalties
    gan = gan_jax.GAN(
        generator, discriminator, gan_jax.losses.non_saturating(), sgd, sgd, gan_jax.latents.normal(5),
        generator_terms=(gan_jax.Term(2.0, penalties.path_length(), 2),),
        discriminator_terms=(gan_jax.Term(1.0, penalties.r1(), 2),),
    )  # fmt: skip
    batch = {"image": jax.random.normal(KEY, (4, 8, 8, 2))}
    state = jax.jit(lambda: gan_jax.init(gan, KEY, batch))()
    before = jax.device_get((state.generator.params, state.discriminator.params))
    step = gan_jax.jit_step(gan_jax.make_train_step(gan))
    means, lengths = [], []
    for i in range(3):
        state, metrics = step(state, batch)
        assert metrics["nonfinite"] == 0
        assert metrics["applied/path_length"] == (i % 2 == 0)
        assert (metrics["penalty/path_length"] > 0) == (i % 2 == 0)
        means.append(np.asarray(state.generator.model_state["w_avg"]["mean"]))
        lengths.append(float(state.generator.penalties[0]))
    assert 0 < lengths[0] == lengths[1] != lengths[2]  # path length does not act in the second step
    assert np.abs(means[1] - means[0]).max() > 0
    np.testing.assert_array_equal(state.ema["w_avg"]["mean"], means[-1])  # the EMA copies this average
    after = jax.device_get((state.generator.params, state.discriminator.params))
    moved = jax.tree.map(lambda a, b: bool(np.abs(a - b).max() > 0), before, after)
    assert all(jax.tree.leaves(moved)), moved


DEVICES = """
import json
import jax, jax.numpy as jnp, numpy as np
import gan_jax
from gan_jax.models import equalized, stylegan2

jax.config.update("jax_disable_most_optimizations", True)
sgd = gan_jax.optimizers.sgd(0.01)
split = lambda x: x.reshape(2, 2, *x.shape[1:])
found = {}

def gap(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.max(np.abs(a - b) / (1 + np.abs(b)))) for a, b in pairs)
"""

PARTS = """
x, weights = jax.random.normal(jax.random.key(0), (4, 2, 2, 3)), jnp.arange(4.0)

def value(x, weights, group, axis=None):
    return jnp.sum(weights * equalized.minibatch_deviation(x, group, axis)[:, 0, 0, -1])

for group in (2, 4, 8):
    run = jax.pmap(lambda x, w, group=group: jax.value_and_grad(value)(x, w, group, "i"), "i")
    parts = run(split(x), split(weights))
    one = jax.value_and_grad(value)(x, weights, group)
    found[f"deviation {group}"] = gap(one, (jnp.sum(parts[0]), parts[1].reshape(x.shape)))

network = stylegan2.Generator((8, 8, 1), w_size=4, mapping_layers=1, channel_max=2)
latents = jax.random.normal(jax.random.key(1), (4, 3))
variables = jax.jit(lambda: network.init(jax.random.key(2), latents, train=False))()

def mean(latents, axis=None):
    return network.apply(variables, latents, train=True, axis_name=axis, method="mapping", mutable=["w_avg"])[1]

each = jax.pmap(lambda latents: mean(latents, "i"), "i")(split(latents))
found["mean of w"] = max(gap(mean(latents), jax.tree.map(lambda x, i=i: x[i], each)) for i in (0, 1))
print(json.dumps(found))
"""

STEP = """
gan = gan_jax.GAN(
    stylegan2.Generator((8, 8, 1), w_size=4, mapping_layers=1, channel_max=2, style_mixing=0.5),
    stylegan2.Discriminator(channel_max=2, group=4), gan_jax.losses.non_saturating(), sgd, sgd,
    gan_jax.latents.normal(3), generator_terms=((2.0, gan_jax.penalties.path_length(), 1),),
)
batch = {"image": jax.random.normal(jax.random.key(1), (4, 8, 8, 1))}
states = []
for axis in (None, "i"):
    step = gan_jax.make_train_step(gan, axis_name=axis)
    step = gan_jax.jit_step(step) if axis is None else gan_jax.pmap_step(step, axis)
    state, _ = step(gan_jax.init(gan, jax.random.key(2), batch), batch)
    states.append(jax.block_until_ready(jax.device_get(state.replace(key=None))))
print(json.dumps({"state": gap(*states), "length": float(states[0].generator.penalties[0])}))
"""


@pytest.mark.slow  # `test_modes_architectures` tests both in whole steps
@pytest.mark.timeout(120)
def test_two_devices_are_one():
    """Minibatch deviation and its gradient, for groups on one and on both devices, and the average of w."""
    found = run_json(DEVICES + PARTS, devices=2)
    assert len(found) == 4
    assert max(found.values()) < 2e-6, found


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_step_on_two_devices():
    """The whole state is the same: parameters, the average of w and that of path lengths."""
    found = run_json(DEVICES + STEP, devices=2)
    assert found["length"] > 0
    assert found["state"] < 2e-6
