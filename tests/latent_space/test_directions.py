"""Directions: SeFa against its closed form, PCA against NumPy, class means where the classes are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax.errors import UserError
from gan_jax.latent_space import directions
from gan_jax.latent_space.first_layer import first_layer
from gan_jax.latent_space.images import LatentImages
from gan_jax.models import biggan, dcgan, mlp, r3gan
from latent_runs import linear_run, open_gan, styled_run

pytestmark = [pytest.mark.usefixtures("quick_compile"), pytest.mark.timeout(180)]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(directions, "DRAWN", 2000)


def same_lines(found, expected, atol=1e-3):
    """Asserts that rows are the same up to their sign."""
    np.testing.assert_allclose(np.abs(np.sum(found * expected, axis=1)), 1, atol=atol)


# ---- the first layer


def test_the_first_layer_of_a_program():
    rng = np.random.default_rng(0)
    a, b, c = (jnp.asarray(rng.normal(size=(4, 4)), jnp.float32) for _ in range(3))

    @jax.custom_jvp
    def shifted(x):
        return x + 1

    shifted.defjvp(lambda primals, tangents: (primals[0] + 1, tangents[0]))

    @jax.jit
    def network(z):
        hidden = jax.nn.relu(shifted(2 * z) @ a)
        late = (z[:, ::-1] - 3) @ b  # takes z further up
        return jnp.tanh(hidden @ c) * late + (z**2) @ b  # the last one is not linear

    z = jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)
    found = first_layer(network, z)
    assert len(found.products) == 2
    np.testing.assert_allclose(found.products[0], (2 * z + 1) @ a, rtol=1e-5)
    np.testing.assert_allclose(found.products[1], (z[:, ::-1] - 3) @ b, rtol=1e-5)
    np.testing.assert_allclose(found.activations, jax.nn.relu((2 * z + 1) @ a), rtol=1e-5)


@pytest.mark.parametrize(
    ("generator", "classes", "layers"),
    [
        (dcgan.Generator((8, 8, 1), width=4), None, 1),
        (mlp.Generator((4, 4, 1), width=4, classes=3), 3, 1),
        (r3gan.Generator((8, 8, 1), widths=(4, 4), blocks=1), None, 1),
        # z enters 1 + (2 norms in each of 2 blocks) times
        (biggan.Generator((16, 16, 3), widths=(8, 8, 4), classes=3), 3, None),
    ],
    ids=["dcgan", "mlp", "r3gan", "biggan"],
)
def test_models_have_a_first_layer(generator, classes, layers):
    run = open_gan(generator, 12, classes)
    images = LatentImages(run)
    found = directions.sefa(images, "z", 3)
    assert found.vectors.shape == (3, 12)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(3), atol=1e-5)
    label = None if classes is None else jnp.zeros(2, jnp.int32)
    keys = images.generator.noise_keys(jax.random.key(0), 2)
    z = jnp.asarray(images.latents(0, 2))
    made = first_layer(lambda z: images.generator.images(images.variables, z, "z", label, keys), z)
    assert len(made.products) == layers if layers is not None else len(made.products) > 1
    assert made.activations is not None


# ---- SeFa


def test_sefa_of_a_linear_generator():
    run, matrix, _ = linear_run()
    found = directions.sefa(LatentImages(run), "z", 4)
    _, _, right = np.linalg.svd(matrix.T.astype(np.float64))
    assert (found.method, found.space, found.names) == ("sefa", "z", ("sefa 1", "sefa 2", "sefa 3", "sefa 4"))
    same_lines(found.vectors, right[:4], 1e-5)
    np.testing.assert_allclose(found.scales, 1, rtol=0.1)  # z has unit variance in every direction
    assert (np.take_along_axis(found.vectors, np.abs(found.vectors).argmax(1)[:, None], 1) > 0).all()


def test_sefa_of_w_reads_the_affine_layers():
    run = styled_run()
    found = directions.sefa(LatentImages(run), "w", 5)
    kernels = [
        np.asarray(leaf, np.float64) / np.sqrt(5)  # the equalised rate
        for path, leaf in jax.tree_util.tree_leaves_with_path(run.state.ema["params"])
        if "affine" in (name := jax.tree_util.keystr(path)) and "kernel" in name
    ]
    colours = [
        np.asarray(leaf, np.float64).shape[-1]
        for path, leaf in jax.tree_util.tree_leaves_with_path(run.state.ema["params"])
        if "image_" in (name := jax.tree_util.keystr(path)) and "affine" in name and "kernel" in name
    ]
    assert len(kernels) == 5
    assert len(colours) == 2
    _, axes = np.linalg.eigh(sum(k @ k.T for k in kernels))
    same_lines(found.vectors, axes.T[::-1])


def test_sefa_of_latents_that_are_normalised_first():
    with pytest.raises(UserError, match=r"no layer of this generator takes z as it is.*--space \(z, w, w\+\)"):
        directions.sefa(LatentImages(styled_run()), "z")


# ---- PCA


class Two(nn.Module):
    """Two linear layers, so that the activations of the first are `z A + b`."""

    @nn.compact
    def __call__(self, latents):
        hidden = nn.Dense(8, name="first", bias_init=nn.initializers.normal(1.0))(latents)
        return nn.Dense(16, name="second")(hidden).reshape(-1, 4, 4, 1)


def test_pca_of_a_linear_generator():
    run = open_gan(Two(), 6)
    images = LatentImages(run)
    found = directions.pca(images, "z", 3)
    z = images.latents(0, 2000).astype(np.float64)
    hidden = z @ np.asarray(run.state.ema["params"]["first"]["kernel"], np.float64)
    left, values, _ = np.linalg.svd(hidden - hidden.mean(0), full_matrices=False)
    coordinates = (left * values)[:, :3]
    expected = np.linalg.lstsq(coordinates, z - z.mean(0), rcond=None)[0]
    same_lines(found.vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True))


def test_pca_with_more_numbers_than_samples():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 50)) * np.linspace(3, 0.1, 50)
    rows -= rows.mean(axis=0)
    left, values, _ = np.linalg.svd(rows, full_matrices=False)
    expected = (left * values)[:, :4]
    for some in (directions._principal(rows, 4), directions._principal(rows[:, :20], 4)):
        assert some.shape == (30, 4)
    found = directions._principal(rows, 4)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-6)


def test_pca_of_w_within_classes():
    images = LatentImages(styled_run(classes=3))
    found = directions.pca(images, "w", 5)
    w = images.map(images.latents(0, 2000)).astype(np.float64)
    for label in range(3):
        w[label::3] -= w[label::3].mean(axis=0)
    _, axes = np.linalg.eigh(w.T @ w)
    same_lines(found.vectors, axes.T[::-1])
    np.testing.assert_array_less(np.diff(found.scales), 0.2)  # the first varies most


def test_pca_needs_a_second_layer():
    with pytest.raises(UserError, match="has no second layer"):
        directions.pca(LatentImages(linear_run()[0]), "z")


# ---- class means


def test_class_means_of_w():
    images = LatentImages(styled_run(classes=3))
    found = directions.class_means(images, "w")
    assert found.names == ("0", "1", "2")
    z = images.latents(0, 200)
    means = np.stack([images.map(z, c).mean(axis=0) for c in range(3)])
    expected = means - means.mean(axis=0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found.vectors, expected, atol=1e-5)  # the sign too
    with pytest.raises(UserError, match="the class of this run's samples is its label"):
        directions.class_means(images, "z")


def test_class_means_of_z_by_a_classifier():
    """The classes are the signs of one linear function of the image, so of z: the direction is known."""
    run, matrix, bias = linear_run()
    images = LatentImages(run)
    probe = np.random.default_rng(5).normal(size=16)

    def classify(shown):
        values = (shown.reshape(len(shown), -1) / 127.5 - 1 - bias) @ probe
        return 1e3 * np.stack([values, -values, np.full(len(values), -1.0)], axis=1)  # nobody sees the third

    found = directions.class_means(images, "z", classify, ["more", "less", "never"])
    assert found.names == ("more", "less")
    expected = matrix @ probe / np.linalg.norm(matrix @ probe)
    assert found.vectors[0] @ expected > 0.98
    assert found.vectors[1] @ expected < -0.98
    with pytest.raises(UserError, match="fewer than two classes"):
        directions.class_means(images, "z", lambda shown: np.tile([9.0, 0.0], (len(shown), 1)) * 9, ["a", "b"])
    with pytest.raises(UserError, match="without a classifier"):
        directions.class_means(images, "z")


# ---- moves


def test_moves_by_hand():
    found = directions.Directions(
        "sefa", "w", ("a", "b"), np.array([[1, 0, 0], [0, 1, 0]], np.float32), np.array([2, 5], np.float32)
    )
    w, layers = np.zeros((2, 3), np.float32), np.zeros((2, 4, 3), np.float32)
    np.testing.assert_array_equal(directions.moved(w, found, [1, -1]), [[2, -5, 0]] * 2)
    each = [[1, 0], [0, 2]]
    np.testing.assert_array_equal(directions.moved(w, found, each), [[2, 0, 0], [0, 10, 0]])
    assert (directions.moved(layers, found, each) == np.array([[[2, 0, 0]], [[0, 10, 0]]])).all()
    assert (directions.moved(layers, found, [1, -1]) == [2, -5, 0]).all()
    steps = directions.steps_along(w[0], found, [-3, 0, 3])
    np.testing.assert_array_equal(steps[:, :, :2], [[[-6, 0], [0, 0], [6, 0]], [[0, -15], [0, 0], [0, 15]]])
