"""Tests R3GAN: both networks against NumPy in float64, precision, and two steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from gan_jax.models import r3gan

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)
LABEL = jnp.asarray([0, 1, 2, 2])


# ---- The networks in NumPy, in float64.


def lrelu(x):
    return np.where(x > 0, x, 0.2 * x)


def block(x, params, groups):
    """Computes a residual block; the grouped convolution is a sum over nine taps, group by group."""
    h = lrelu(x @ params["conv_1"]["kernel"][0, 0] + params["conv_1"]["bias"])
    kernel, per = params["conv_2"]["kernel"], h.shape[-1] // groups
    padded = np.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = h.shape[1:3]
    out = np.zeros_like(h)
    for g in range(groups):
        group = slice(g * per, (g + 1) * per)
        for a in range(3):
            for b in range(3):
                out[..., group] += padded[:, a : a + height, b : b + width, group] @ kernel[a, b, :, group]
    h = lrelu(out + params["conv_2"]["bias"])
    return x + h @ params["conv_3"]["kernel"][0, 0]


# Upsampling by 2 as a matrix: a pixel adds 1/4 3/4 3/4 1/4 to four pixels, of which it covers the middle two.
UP = np.array(
    [
        [3, 0, 0, 0],
        [3, 1, 0, 0],
        [1, 3, 0, 0],
        [0, 3, 1, 0],
        [0, 1, 3, 0],
        [0, 0, 3, 1],
        [0, 0, 1, 3],
        [0, 0, 0, 3],
    ]
) / 4  # fmt: skip
DOWN = UP.T / 2  # weights 1/8 3/8 3/8 1/8


def resample(matrix, x):
    return np.einsum("ab,cd,nbde->nace", matrix, matrix, x)


SIZES = {"widths": (8, 4), "cardinality": (4, 2), "blocks": 2, "expansion": 2}
CLASSES = 3


def blocks(x, params, side, groups):
    for i in range(SIZES["blocks"]):
        x = block(x, params[f"block_{side}_{i}"], groups)
    return x


def generate(params, z, label):
    if "embed" in params:
        z = np.concatenate([z, np.eye(CLASSES)[label] @ params["embed"]["embedding"]], axis=-1)
    x = params["basis"] * (z @ params["style"]["kernel"])[:, None, None]
    x = blocks(x, params, 4, 4)
    x = resample(UP, x @ params["to_8"]["kernel"][0, 0])
    return blocks(x, params, 8, 2) @ params["image"]["kernel"][0, 0]


def discriminate(params, image, label):
    x = blocks(image @ params["image"]["kernel"][0, 0], params, 8, 2)
    x = resample(DOWN, x) @ params["to_4"]["kernel"][0, 0]
    x = (blocks(x, params, 4, 4) * params["pool"]).sum(axis=(1, 2)) @ params["logit"]["kernel"]
    if "embed" not in params:
        return x[:, 0]
    return (x * (np.eye(CLASSES)[label] @ params["embed"]["embedding"])).sum(axis=-1)


def tiny(player, **changes):
    settings = {**SIZES, **changes}
    return r3gan.Generator((8, 8, 3), embedding=5, **settings) if player == 0 else r3gan.Discriminator(**settings)


def filled(params):
    """Returns the same tree with random numbers everywhere, so that nothing is zero."""
    draw = np.random.default_rng(0)
    return jax.tree.map(lambda x: (draw.normal(size=x.shape) * 0.4).astype(np.float32), params)


@pytest.mark.parametrize("classes", [CLASSES, None])
@pytest.mark.parametrize("player", [0, 1], ids=["generator", "discriminator"])
def test_a_player_is_that_of_numpy_in_float64(player, classes):
    network, reference = tiny(player, classes=classes), (generate, discriminate)[player]
    draw = np.random.default_rng(1)
    inputs = jnp.asarray(draw.normal(size=((4, 6), (4, 8, 8, 3))[player]), jnp.float32)
    variables = jax.eval_shape(lambda: network.init(KEY, inputs, LABEL))
    params = filled(variables["params"])
    exact = jax.tree.map(lambda x: x.astype(np.float64), params)
    expected = reference(exact, np.asarray(inputs, np.float64), np.asarray(LABEL))
    out = jax.jit(network.apply)({"params": params}, inputs, LABEL)
    assert out.shape == ((4, 8, 8, 3), (4,))[player]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("player", [0, 1], ids=["generator", "discriminator"])
def test_a_network_begins_without_its_blocks(player):
    """conv_3 starts at zero: a block returns its input exactly, and the network is linear."""
    network = tiny(player)
    inputs = jax.random.normal(KEY, ((2, 6), (2, 8, 8, 3))[player])

    @jax.jit
    def outputs():
        variables = network.init(KEY, inputs)
        apply = lambda x: network.apply(variables, x, capture_intermediates=True)  # noqa: E731
        return apply(inputs), apply(2 * inputs)[0]

    (out, variables), twice = outputs()
    maps = variables["intermediates"]
    for side in (4, 8):
        np.testing.assert_array_equal(*(maps[f"block_{side}_{i}"]["__call__"][0] for i in (0, 1)))
    np.testing.assert_array_equal(twice, 2 * out)
    assert np.abs(out).min() > 0


@pytest.mark.parametrize("player", [0, 1], ids=["generator", "discriminator"])
def test_labels_are_required(player):
    network, inputs = tiny(player, classes=CLASSES), jnp.zeros(((1, 6), (1, 8, 8, 3))[player])
    with pytest.raises(ValueError, match="a network with 3 classes needs labels"):
        jax.eval_shape(lambda: network.init(KEY, inputs))


# ---- Training steps.


def make_gan(**changes):
    settings = {"classes": CLASSES, "blocks": 1, **changes}
    b2 = gan_jax.schedules.per_update(gan_jax.schedules.cosine(0.9, 0.99, 1000), 4)
    adam = gan_jax.optimizers.adam(1e-3, b1=0.0, b2=b2)
    return gan_jax.GAN(
        generator=tiny(0, **settings), discriminator=tiny(1, **settings),
        loss=gan_jax.losses.relativistic(), generator_tx=adam, discriminator_tx=adam,
        latent=gan_jax.latents.normal(6), discriminator_terms=(gan_jax.Term(0.05, gan_jax.penalties.r1_r2()),),
        share_latents=False,
    )  # fmt: skip


BATCH = {
    "image": jax.random.uniform(KEY, (2, 4, 8, 8, 3), minval=-1.0),  # one batch for each network
    "label": jnp.stack([LABEL, LABEL]),
}


@pytest.mark.slow
def test_two_steps_move_every_parameter():
    """In the blocks, the first step changes only conv_3; the second step changes everything."""
    gan = make_gan()
    state = jax.jit(lambda: gan_jax.init(gan, KEY, BATCH))()
    step = gan_jax.jit_step(gan_jax.make_train_step(gan))

    def run_step(state):
        before = jax.device_get((state.generator.params, state.discriminator.params))
        state, metrics = step(state, BATCH)
        assert metrics["nonfinite"] == 0
        assert metrics["penalty/r1_r2"] > 0
        after = (state.generator.params, state.discriminator.params)
        moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before, jax.device_get(after))
        return state, {jax.tree_util.keystr(path): d for path, d in jax.tree.leaves_with_path(moved)}

    state, first = run_step(state)
    still = {path for path, distance in first.items() if distance == 0}
    assert still == {path for path in first if "conv_1" in path or "conv_2" in path}
    state, second = run_step(state)
    assert min(second.values()) > 1e-5  # Adam moves a parameter by about its learning rate
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.ema, state.generator.params)))


def test_parameters_and_metrics_stay_float32_in_bfloat16():
    gan = make_gan(dtype=jnp.bfloat16)
    state = jax.eval_shape(lambda: gan_jax.init(gan, KEY, BATCH))
    step = gan_jax.make_train_step(gan)
    assert "bf16[4,8,8,4]" in str(jax.make_jaxpr(step.function)(state, BATCH))
    after, metrics = jax.eval_shape(step.function, state, BATCH)
    floats = jax.tree.map(lambda x: x.dtype, (after.generator.params, after.discriminator.params, after.ema))
    assert set(jax.tree.leaves(floats)) == {np.dtype(np.float32)}
    assert {x.dtype for name, x in metrics.items() if name != "nonfinite"} == {np.dtype(np.float32)}


@pytest.mark.parametrize("player", [0, 1], ids=["generator", "discriminator"])
def test_bfloat16_is_near_float32(player):
    inputs = jax.random.normal(KEY, ((4, 6), (4, 8, 8, 3))[player])
    params = filled(jax.eval_shape(lambda: tiny(player).init(KEY, inputs))["params"])
    near, exact = (
        jax.jit(tiny(player, dtype=dtype).apply)({"params": params}, inputs)
        for dtype in (jnp.bfloat16, jnp.float32)
    )
    assert near.dtype == jnp.float32
    difference = np.abs(near - exact)
    assert difference.max() > 0
    assert np.sqrt(np.mean(difference**2)) < 0.02 * np.sqrt(np.mean(np.square(exact)))
