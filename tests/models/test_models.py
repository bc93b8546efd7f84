"""Tests the architectures: sizes, parameter counts, norms, labels, precision, and spectral norm against SVD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from gan_jax.models import dcgan, mlp
from gan_jax.models.layers import Dense, spectral_refresh

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)
KEYWORDS = {"train": True, "axis_name": None}


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def shapes(network, *inputs, **keywords):
    """Returns the shapes of a network's variables and of its output, without computing them."""
    variables = jax.eval_shape(lambda: network.init(KEY, *inputs, **keywords))
    mutable = [name for name in variables if name != "params"]
    apply = lambda v: network.apply(v, *inputs, **keywords, mutable=mutable)[0]  # noqa: E731
    return variables, jax.eval_shape(apply, variables)


def run(network, *inputs, **keywords):
    """Returns a network's variables and its output for the inputs, in training mode."""

    def both():
        variables = network.init(KEY, *inputs, **keywords)
        mutable = [name for name in variables if name != "params"]
        return variables, network.apply(variables, *inputs, **keywords, mutable=mutable)[0]

    return jax.jit(both)()


def test_parameters_of_dcgan_64_are_those_of_pytorch_s_example():
    generator, image = shapes(dcgan.Generator((64, 64, 3), width=64), jnp.zeros((2, 100)), **KEYWORDS)
    discriminator, logits = shapes(dcgan.Discriminator(width=64), jnp.zeros((2, 64, 64, 3)), **KEYWORDS)
    assert (count(generator), count(discriminator)) == (3_576_704, 2_765_568)
    assert (image.shape, logits.shape) == ((2, 64, 64, 3), (2,))


SIZES = [8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128]


@pytest.mark.parametrize(
    ("size", "norm"),
    [
        *(pytest.param(size, "batch", marks=[] if size in (8, 28) else pytest.mark.slow) for size in SIZES),
        *((size, norm) for size in (8, 28) for norm in ("spectral", "none")),
        *(pytest.param(128, norm, marks=pytest.mark.slow) for norm in ("spectral", "none")),
    ],
)
def test_dcgan_makes_and_reads_every_size_it_promises(size, norm):
    channels = 1 + size // 4 % 4  # 1 to 4
    generator = dcgan.Generator((size, size, channels), width=8, norm=norm)
    variables, image = shapes(generator, jnp.zeros((2, 10)), **KEYWORDS)
    assert image.shape == (2, size, size, channels)
    assert image.dtype == jnp.float32
    kept = {"batch": {"batch_stats"}, "spectral": {"spectral"}, "none": set()}[norm]
    assert set(variables) == {"params"} | kept
    discriminator = dcgan.Discriminator(width=8, norm=norm)
    variables, logits = shapes(discriminator, jnp.zeros((2, size, size, channels)), **KEYWORDS)
    assert logits.shape == (2,)
    # The first map has no norm, so a discriminator with one hidden map has no batch statistics.
    assert set(variables) <= {"params"} | kept


@pytest.mark.parametrize("channels", [3, *(pytest.param(count, marks=pytest.mark.slow) for count in (1, 2, 4))])
def test_dcgan_channels(channels):
    generator = dcgan.Generator((8, 8, channels), width=4)
    _, image = run(generator, jax.random.normal(KEY, (3, 5)), **KEYWORDS)
    assert image.shape == (3, 8, 8, channels)
    assert np.abs(image).max() <= 1
    assert np.std(image, axis=0).min() > 0  # every pixel depends on the latents


@pytest.mark.parametrize("size", [0, 4, 7, 9, 27, 44, 144, 256])
def test_dcgan_refuses_other_sizes(size):
    with pytest.raises(ValueError, match=f"images of {size} pixels: resize the data"):
        dcgan.doublings((size, size))


@pytest.mark.parametrize(
    ("size", "base", "expected"),
    [
        (64, None, (4, 4)),
        (28, None, (7, 2)),
        (8, None, (4, 1)),
        (96, None, (6, 4)),
        (64, 2, (2, 5)),
        (28, 7, (7, 2)),
        (36, None, (9, 2)),
        (44, 11, (11, 2)),
    ],
)
def test_doublings(size, base, expected):
    first, times = expected
    assert dcgan.doublings((size, size), base) == ((first, first), times)
    assert first * 2**times == size


def test_dcgan_refuses_samples_of_other_ranks():
    with pytest.raises(ValueError, match="base=3"):
        dcgan.doublings((64, 64), 3)
    for shape in ((64,), (8, 8, 8, 8, 1)):
        with pytest.raises(ValueError, match=r"dcgan needs images .* audio .* video and volumes .* use mlp"):
            shapes(dcgan.Generator(shape), jnp.zeros((2, 10)), **KEYWORDS)


def pairs(norm="batch", classes=None, dtype=jnp.float32):
    spectral = norm == "spectral"
    return {
        "dcgan": (
            dcgan.Generator((8, 8, 2), width=4, norm=norm, classes=classes, dtype=dtype),
            dcgan.Discriminator(width=4, norm=norm, classes=classes, dtype=dtype),
            (8, 8, 2),
        ),
        "mlp": (
            mlp.Generator((3,), width=16, tanh=False, classes=classes, spectral=spectral, dtype=dtype),
            mlp.Discriminator(width=16, classes=classes, spectral=spectral, dtype=dtype),
            (3,),
        ),
    }


def make_gan(generator, discriminator):
    sgd = gan_jax.optimizers.sgd(0.01)
    loss, latent = gan_jax.losses.non_saturating(), gan_jax.latents.normal(5)
    return gan_jax.GAN(generator, discriminator, loss, sgd, sgd, latent)


@pytest.mark.parametrize("kind", ["dcgan", "mlp"])
def test_labels_matter_and_are_required(kind):
    generator, discriminator, shape = pairs(classes=3)[kind]
    labels = jnp.asarray([0, 1, 2, 2])
    extra = {} if kind == "mlp" else {"train": False, "axis_name": None}
    for network, inputs in ((generator, jnp.ones((4, 5))), (discriminator, jnp.ones((4, *shape)))):
        _, out = jax.device_get(run(network, inputs, labels, **extra))
        np.testing.assert_allclose(out[2], out[3], rtol=1e-5, atol=1e-6)  # same input, same label
        assert np.abs(out[0] - out[1]).max() > 1e-6
        with pytest.raises(ValueError, match="a network with 3 classes needs labels"):
            network.init(KEY, inputs, **extra)


def test_unconditional_networks_ignore_labels():
    generator, discriminator, shape = pairs()["dcgan"]
    batch = {"image": jnp.zeros((4, *shape)), "label": jnp.asarray([0, 1, 2, 3])}
    gan, unlabelled = make_gan(generator, discriminator), {"image": batch["image"]}
    one, other = (jax.eval_shape(lambda b=b: gan_jax.init(gan, KEY, b)) for b in (batch, unlabelled))
    assert jax.tree.structure(one) == jax.tree.structure(other)


@pytest.mark.parametrize("norm", ["batch", "spectral"])
@pytest.mark.parametrize("kind", ["dcgan", "mlp"])
def test_networks_compute_in_bfloat16_and_keep_float32(kind, norm):
    generator, discriminator, shape = pairs(norm=norm, dtype=jnp.bfloat16)[kind]
    gan = make_gan(generator, discriminator)
    batch = {"image": jax.random.uniform(KEY, (4, *shape), minval=-1.0)}
    state = jax.eval_shape(lambda: gan_jax.init(gan, KEY, batch))
    assert {x.dtype for x in jax.tree.leaves((state.generator, state.discriminator))} == {np.dtype(np.float32)}
    step = gan_jax.make_train_step(gan)
    text = str(jax.make_jaxpr(step.function)(state, batch))
    assert "bf16[" in text
    after, metrics = jax.eval_shape(step.function, state, batch)
    dtypes = jax.tree.map(lambda x: x.dtype, (after.generator, after.discriminator, after.ema))
    assert set(jax.tree.leaves(dtypes)) == {np.dtype(np.float32)}
    assert {x.dtype for name, x in metrics.items() if name != "nonfinite"} == {np.dtype(np.float32)}
    sample = jax.eval_shape(gan_jax.make_sampler(gan), state.ema, jnp.zeros((2, 5)))
    assert sample.dtype == jnp.float32


def test_bfloat16_is_near_float32():
    network, wide = (pairs(dtype=dtype)["dcgan"][0] for dtype in (jnp.bfloat16, jnp.float32))
    latents = jax.random.normal(KEY, (8, 5))
    (_, near), (_, exact) = (run(n, latents, **KEYWORDS) for n in (network, wide))  # the same parameters: one key
    np.testing.assert_allclose(near, exact, atol=0.03)
    assert np.abs(near - exact).max() > 0


@pytest.mark.parametrize("player", [0, 1], ids=["generator", "discriminator"])
@pytest.mark.parametrize("kind", ["dcgan", "mlp"])
def test_spectral_norm_is_that_of_numpy(kind, player):
    """After many power iterations, kernel / (v . W u) has the largest singular value 1."""
    *networks, shape = pairs(norm="spectral")[kind]
    network, inputs = networks[player], jnp.ones((2, *((5,) if player == 0 else shape)))
    variables, _ = run(network, inputs, **({} if kind == "mlp" else KEYWORDS))
    refresh = jax.jit(network.refresh)
    before = variables
    for _ in range(300):
        variables = refresh(variables)
    jax.tree.map(np.testing.assert_array_equal, variables["params"], before["params"])
    checked = 0
    for name, vectors in variables["spectral"].items():
        kernel = np.asarray(variables["params"][name]["kernel"], np.float64)
        matrix, u = kernel.reshape(-1, kernel.shape[-1]), np.asarray(vectors["u"], np.float64)
        sigma = np.linalg.norm(matrix @ u)  # v . W u with v = W u / |W u|
        largest = np.linalg.svd(matrix / sigma, compute_uv=False)[0]
        np.testing.assert_allclose(largest, 1.0, rtol=1e-4, err_msg=name)
        checked += 1
    assert checked == sum("kernel" in layer for layer in variables["params"].values()) - (
        kind == "dcgan" and player == 0  # its last layer has no spectral norm
    )


def test_a_layer_computes_with_the_spectrally_normalised_kernel():
    """A dense layer computes x W / sigma, and its gradient treats u and v as constants."""
    layer = Dense(4, use_bias=False, spectral=True)
    x = jax.random.normal(KEY, (3, 6))
    variables = layer.init(KEY, x)
    kernel = np.asarray(variables["params"]["kernel"], np.float64)
    refresh = jax.jit(lambda v: {**v, "spectral": spectral_refresh(nest(v))["spectral"]["layer"]})
    for _ in range(200):
        variables = refresh(variables)
    left, sigma, right = np.linalg.svd(kernel)
    np.testing.assert_allclose(layer.apply(variables, x), np.asarray(x) @ kernel / sigma[0], rtol=1e-4, atol=1e-5)
    # d sum(x W / s) / dW = a / s - <a, W> / s^2 v u^T, where a = x^T 1 (Miyato et al., 2018, equation 12).
    grads = jax.grad(
        lambda params: layer.apply({**variables, "params": params}, x).sum()
    )(variables["params"])["kernel"]  # fmt: skip
    a = np.asarray(x, np.float64).sum(axis=0)[:, None] * np.ones((1, 4))
    outer = np.outer(left[:, 0], right[0])
    expected = a / sigma[0] - np.sum(a * kernel) / sigma[0] ** 2 * outer
    np.testing.assert_allclose(grads, expected, rtol=1e-3, atol=1e-4)


def nest(variables):
    """Wraps the variables of a layer as those of a network with this one layer."""
    return {name: {"layer": value} for name, value in variables.items()}


@pytest.mark.slow
def test_mlp_on_vectors():
    """With unbounded samples of two dimensions, a step changes every parameter."""
    generator, discriminator = mlp.Generator((2,), width=8, tanh=False), mlp.Discriminator(width=8)
    gan = make_gan(generator, discriminator)
    batch = {"image": 3.0 * jax.random.normal(KEY, (16, 2))}
    state = jax.jit(lambda: gan_jax.init(gan, KEY, batch))()
    before = jax.tree.map(np.asarray, (state.generator.params, state.discriminator.params))
    state, metrics = gan_jax.jit_step(gan_jax.make_train_step(gan))(state, batch)
    assert metrics["nonfinite"] == 0
    after = (state.generator.params, state.discriminator.params)
    moved = jax.tree.map(lambda a, b: bool(np.abs(a - b).max() > 0), before, after)
    assert all(jax.tree.leaves(moved))
    expected = (5 * 8 + 8) + (8 * 8 + 8) + (8 * 2 + 2), (2 * 8 + 8) + (8 * 8 + 8) + (8 + 1)
    assert tuple(count({"params": params}) for params in after) == expected
    assert gan_jax.make_sampler(gan)(state.ema, jnp.zeros((3, 5))).shape == (3, 2)
