"""Tests the mapping of StyleGAN2 and its moving average of w, truncation, style mixing and noise."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import networks
from gan_jax.models import stylegan2
from gan_jax.models.layers import styled
from small_stylegan2 import GENERATOR, KEYS, LABELS, LATENTS, SMALL, init, noisy_variables

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def variables():
    return noisy_variables()


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


@pytest.mark.parametrize("cutoff", [0, 1, 3, 9])
def test_truncation_up_to_a_layer(variables, cutoff):
    """Only the w of the first `truncation_cutoff` layers move towards the average."""
    network = GENERATOR.clone(truncation_cutoff=cutoff)
    centre, ws = np.asarray(variables["w_avg"]["mean"]), np.asarray(mapping(variables))
    expected = ws.copy()
    expected[:, :cutoff] = centre + 0.3 * (ws[:, :cutoff] - centre)
    found = mapping(variables, network=network, truncation=0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(mapping(variables, network=network), ws)


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


def test_constant_noise_of_a_layer_is_the_strength_times_its_buffer(variables):
    """The buffer is one image, the same for all samples and channels, and different from layer to layer."""
    layer = styled.StyledConv(3, buffer=True)
    x, w = jnp.ones((4, 6, 6, 2)), jnp.ones((4, 5))
    made = init(layer, x, w, None)
    buffer = np.asarray(made["noise_buffers"]["image"])
    assert buffer.shape == (6, 6)
    made["params"] = {**made["params"], "noise_strength": jnp.asarray(0.5), "bias": jnp.full(3, 100.0)}
    noise = np.asarray(layer.apply(made, x, w, KEYS, fixed=True) - layer.apply(made, x, w, None))
    expected = 0.5 * np.sqrt(2) * buffer[None, ..., None]
    np.testing.assert_allclose(noise, np.broadcast_to(expected, noise.shape), atol=1e-4)
    with pytest.raises(ValueError, match="noise='const' needs the images that the generator's `init` draws"):
        layer.apply({"params": made["params"]}, x, w, None)


@pytest.mark.slow
def test_noise_outside_training_is_drawn_constant_or_none(variables):
    """In training it is always drawn. Constant noise is N(0, 1) and needs no keys."""
    const = GENERATOR.clone(noise="const")
    made = init(const, LATENTS, LABELS, train=False)
    assert jax.tree.structure({k: made[k] for k in variables}) == jax.tree.structure(variables)
    buffers = jax.tree.leaves(made["noise_buffers"])
    assert sorted(x.shape for x in buffers) == [(4, 4), (8, 8), (8, 8)]
    numbers = np.concatenate([np.ravel(x) for x in buffers])
    assert len(set(numbers)) == 144
    assert abs(numbers.mean()) < 0.4
    assert abs(numbers.std() - 1) < 0.25
    everything = {**variables, "noise_buffers": made["noise_buffers"]}

    def sample(kind, keys):  # op by op: the four networks share their operations, which compiles less
        return networks.sample_network(GENERATOR.clone(noise=kind), everything, LATENTS, label=LABELS, keys=keys)

    kinds = ("random", "const", "none")
    first, second = ({kind: sample(kind, keys) for kind in kinds} for keys in (KEYS, KEYS[::-1]))
    for one, other in itertools.combinations(first.values(), 2):
        assert np.abs(one - other).max() > 1e-3
    for kind in ("const", "none"):
        np.testing.assert_array_equal(first[kind], second[kind])
    assert np.abs(first["random"] - second["random"]).max() > 1e-3
    state = {name: everything[name] for name in ("w_avg", "noise_buffers")}
    trained, after = networks.call_network(const, everything["params"], state, LATENTS, label=LABELS, keys=KEYS)
    np.testing.assert_allclose(trained, first["random"], atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after["noise_buffers"], made["noise_buffers"])
