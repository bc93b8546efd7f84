"""Projection: the parts of its objective by hand, and what it finds where the answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import pixels
from gan_jax.errors import UserError
from gan_jax.latent_space import objective
from gan_jax.latent_space.features import choose_features
from gan_jax.latent_space.images import LatentImages
from gan_jax.latent_space.projection import Settings, project, psnr
from gan_jax.metrics.features.perceptual import PerceptualNetwork
from latent_runs import SIDE, Linear, linear_run, open_gan, styled_run

pytestmark = [pytest.mark.usefixtures("quick_compile"), pytest.mark.timeout(180)]

FREE = Settings(steps=400, starts=1, candidates=4, prior=0.0, frames=3)


# ---- the objective


def test_the_distance_by_hand():
    rng = np.random.default_rng(0)
    one, other = rng.uniform(-1, 1, (2, 3, 4, 4, 2)).astype(np.float32)
    pixel = ((one - other) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(objective.distance(one, other, None), pixel, rtol=1e-5)

    def maps(variables, x):
        return [x * variables, x[:, ::2, ::2] + 1]

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    layers = [((unit(a) - unit(b)) ** 2).sum(-1).mean((1, 2)) for a, b in zip(maps(3, one), maps(3, other))]
    expected = pixel + 0.5 * (layers[0] + layers[1]) / 2
    found = objective.distance(one, other, PerceptualNetwork(3.0, maps), 0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_drawn_latents_are_plausible():
    rng = np.random.default_rng(0)
    drawn = (rng.normal(size=(5000, 3)) * [1, 10, 0.5] + [5, 0, 0]).astype(np.float32)
    plausible = objective.Plausible.of(drawn)
    np.testing.assert_allclose(plausible.mean, [5, 0, 0], atol=0.5)
    np.testing.assert_allclose(plausible.spread, np.sqrt(1 + 100 + 0.25), rtol=0.05)
    np.testing.assert_allclose(plausible.limit, 11.345 / 3, rtol=0.1)  # the quantile of chi squared with 3 numbers
    excess = plausible.excess(jnp.asarray(drawn))
    assert np.mean(np.asarray(excess) > 0) == pytest.approx(0.01, abs=0.002)
    far = jnp.asarray([[5.0, 100.0, 0.0]])
    expected = (100 / plausible.limit / 3 - 1) ** 2
    np.testing.assert_allclose(plausible.excess(far), expected, rtol=0.2)
    layers = jnp.stack([far, jnp.asarray([[5.0, 0.0, 0.0]])], axis=1)  # the second is the mean itself
    np.testing.assert_allclose(plausible.excess(layers), plausible.excess(far) / 2, rtol=1e-5)


def test_the_correlation_of_noise_by_hand():
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=(2, 4, 4)), rng.normal(size=(2, 16, 16))
    halved = 2 * large.reshape(2, 8, 2, 8, 2).mean((2, 4))

    def level(x):
        across = (x * np.roll(x, 1, 2)).mean((1, 2)) ** 2
        return across + (x * np.roll(x, 1, 1)).mean((1, 2)) ** 2

    found = objective.correlation({"a": jnp.asarray(small, jnp.float32), "b": jnp.asarray(large, jnp.float32)})
    np.testing.assert_allclose(found, level(small) + level(large) + level(halved), rtol=1e-4)
    even = objective.normalised(jnp.asarray(5 + 3 * large, jnp.float32))
    np.testing.assert_allclose(even.mean((1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(even.std((1, 2)), 1, rtol=1e-5)


def test_the_schedules_of_the_paper():
    rates, shares = objective.schedule(1000, 0.1), objective.shaking(1000)
    assert rates[24] == pytest.approx(0.05, rel=0.01)  # half way of the first 50 steps
    np.testing.assert_allclose(rates[60:740], 0.1)
    assert rates[874] == pytest.approx(0.05, rel=0.02)
    assert 0 < rates[-1] < 1e-4
    assert shares[0] == pytest.approx(0.05)
    assert shares[375] == pytest.approx(0.05 / 4)
    assert not shares[750:].any()
    assert len(objective.schedule(1, 0.1)) == len(objective.shaking(1)) == 1
    assert objective.schedule(1, 0.1)[0] > 0


def test_psnr():
    images = np.zeros((2, 2, 2, 1), np.uint8)
    others = images.copy()
    others[0, 0, 0] = 2  # a mean squared error of 1
    np.testing.assert_allclose(psnr(images, others), [20 * np.log10(255), np.inf])


# ---- what is found


def test_a_linear_generator_is_inverted_by_least_squares():
    run, matrix, bias = linear_run()
    images = LatentImages(run)
    targets = np.random.default_rng(3).integers(90, 160, (3, SIDE, SIDE, 1)).astype(np.uint8)
    found = project(images, targets, settings=FREE)
    goal = np.asarray(pixels.to_float(jnp.asarray(targets))).reshape(3, -1) - bias
    exact = np.linalg.lstsq(matrix.T.astype(np.float64), goal.T, rcond=None)[0].T
    np.testing.assert_allclose(found.latents, exact, atol=2e-3 * np.abs(exact).max())
    least = np.mean((goal - exact @ matrix) ** 2, axis=1)
    np.testing.assert_allclose(found.distances[-1], least, rtol=1e-4)
    assert found.distances.shape == (400, 3)
    assert found.frames.shape == (4, 3, SIDE, SIDE, 1)
    np.testing.assert_array_equal(found.images, images(found.latents))
    assert found.labels is None
    assert found.noise is None


def test_the_prior_holds_latents_near():
    run, _, _ = linear_run()
    images = LatentImages(run)
    targets = np.full((1, SIDE, SIDE, 1), 255, np.uint8)
    near, far = (project(images, targets, settings=FREE._replace(prior=weight)).latents for weight in (10.0, 0.0))
    plausible = objective.Plausible.of(images.latents(0, 4096))
    assert plausible.excess(jnp.asarray(near)) < 0.01
    assert plausible.excess(jnp.asarray(far)) > 1


def test_an_image_is_found_in_a_batch_as_alone():
    run, _, _ = linear_run()
    images = LatentImages(run)
    targets = images(images.latents(8, 3))
    settings = Settings(steps=40, starts=2, candidates=20, frames=2)
    together, alone = project(images, targets, settings=settings), project(images, targets[1:2], settings=settings)
    np.testing.assert_allclose(together.latents[1], alone.latents[0], atol=1e-5)


@pytest.mark.parametrize("space", [pytest.param("z", marks=pytest.mark.slow), "w", "w+"])
def test_own_samples_of_stylegan2_are_found(space):
    images = LatentImages(styled_run(classes=3, noise="none"))
    targets = images(images.latents(11, 2), labels=[2, 1])
    settings = Settings(steps=200, starts=2, candidates=60, frames=2)
    found = project(images, targets, space, labels=[2, 1], settings=settings)
    assert found.latents.shape == (2, *images.generator.shape(space))
    assert found.noise is None
    assert found.psnr.min() > 30


@pytest.mark.slow
def test_maps_of_noise_are_found():
    images = LatentImages(styled_run())
    targets = images(images.latents(11, 2), noise_seed=5)
    settings = Settings(steps=150, starts=1, candidates=60, noise=1.0, frames=2)
    found = project(images, targets, "w", settings=settings)
    drawn = project(images, targets, "w", settings=settings._replace(fit_noise=False))
    assert drawn.noise is None
    assert (found.psnr > drawn.psnr + 3).all()
    maps = jax.tree.leaves(found.noise)
    assert [x.shape for x in maps] == [(2, *x.shape) for x in jax.tree.leaves(images.generator.noise)]
    np.testing.assert_allclose([x.std() for x in maps], 1, rtol=1e-2)
    again = images(found.latents, space="w", noise=found.noise)
    np.testing.assert_array_equal(again, found.images)


def test_the_label_is_given_or_found():
    class Tinted(Linear):
        """Shows the label as a grey level, which no latent reaches."""

        def __call__(self, latents, label):
            level = 0.01 * latents[:, :1] + label[:, None] * 0.5 - 0.5
            return jnp.broadcast_to(level[..., None, None], (len(level), 4, 4, 1))

    images = LatentImages(open_gan(Tinted(), 2, classes=3, variables={"params": {}}))
    targets = images(images.latents(4, 3), labels=[2, 0, 1])
    settings = Settings(steps=30, starts=1, candidates=30, frames=1)
    np.testing.assert_array_equal(project(images, targets, settings=settings).labels, [2, 0, 1])
    given = project(images, targets, labels=[1, 0, 1], settings=settings)
    np.testing.assert_array_equal(given.labels, [1, 0, 1])
    assert given.psnr[0] < 20 < 40 < given.psnr[1]


def test_integers_of_a_latent_are_chosen_among_candidates():
    def latent(key):
        return {"a": jax.random.normal(key, (2,)), "code": jax.random.randint(key, (), 0, 3)}

    class Coded(Linear):
        def __call__(self, latents):
            level = latents["code"][:, None] * 0.5 - 0.5 + 0.05 * latents["a"].sum(1, keepdims=True)
            return jnp.broadcast_to(level[..., None, None], (len(level), 4, 4, 1))

    images = LatentImages(open_gan(Coded(), latent=latent, variables={"params": {}}))
    z = images.latents(9, 4)
    found = project(images, images(z), settings=Settings(steps=60, starts=1, candidates=40, frames=1))
    np.testing.assert_array_equal(found.latents[:, 2], z[:, 2])
    assert found.psnr.min() > 40


def test_what_cannot_be_projected():
    images = LatentImages(linear_run()[0])
    good = np.zeros((1, 4, 4, 1), np.uint8)
    with pytest.raises(UserError, match=r"have shape \(5, 4, 1\), but the run's have \(4, 4, 1\)"):
        project(images, np.zeros((1, 5, 4, 1), np.uint8))
    with pytest.raises(UserError, match="no space w"):
        project(images, good, "w")
    for settings, words in (
        (Settings(steps=0), "steps must be at least 1, got 0"),
        (Settings(starts=9, candidates=3), "9 starts are chosen among 3 candidates"),
        (Settings(rate=float("nan")), "rate must be a number from 0 up"),
    ):
        with pytest.raises(UserError, match=words):
            project(images, good, settings=settings)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_features_of_a_network_are_compared():
    """EfficientNet-Lite0 itself; its features alone lead to the image."""
    size = 32 * 32 * 3
    matrix = np.random.default_rng(0).normal(size=(4, size)).astype(np.float32) * 0.1
    variables = {"params": {"only": {"kernel": jnp.asarray(matrix), "bias": jnp.zeros(size)}}}
    images = LatentImages(open_gan(Linear((32, 32, 3)), 4, variables=variables))
    features, line = choose_features(images.shape)
    assert line == "distance: pixels, and features of EfficientNet-Lite0"
    assert features is not None
    targets = images(images.latents(3, 1))
    settings = Settings(steps=20, starts=1, candidates=30, features=1e3, frames=1)
    found = project(images, targets, features=features, settings=settings)
    assert found.distances[0, 0] > 1  # pixels alone are 0.1 apart
    assert found.distances[-1, 0] < 0.5 * found.distances[0, 0]


def test_what_is_compared_is_said(monkeypatch):
    assert choose_features((16, 16, 1)) == (
        None, "distance: pixels alone; images of 16x16 pixels are too small for features, which need 32",
    )  # fmt: skip
    assert choose_features((64, 64, 3), weight=0) == (None, "distance: pixels alone")
    monkeypatch.setattr("gan_jax.metrics.features.efficientnet_lite0.PACKAGE", "no_such_package")
    assert choose_features((64, 64, 3)) == (
        None, "distance: pixels alone; pip install 'gan_jax[features]' adds features",
    )  # fmt: skip
