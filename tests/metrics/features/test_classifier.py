"""The classifier learns, is trained the same way every time, and is cached."""

import dataclasses

import jax
import numpy as np
import pytest

from gan_jax.data.arrays import Arrays
from gan_jax.data.digits import digits
from gan_jax.errors import UserError
from gan_jax.metrics.features import classifier as module
from gan_jax.metrics.features.classifier import classifier, stacked
from gan_jax.metrics.features.classifier_network import Network
from gan_jax.metrics.features.extractor import extract

SMALL = {"width": 4, "size": 8, "batch": 16, "epochs": 3, "held_out": 0.2}


def bars(count=200, side=9, channels=1, seed=0):
    """Two classes that a small network can separate: a bright left half, or a bright top half, with noise."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count).astype(np.int32)
    image = rng.integers(0, 60, (count, side, side + 1, channels))
    image[label == 0, :, : side // 2] += 180
    image[label == 1, : side // 2] += 180
    return Arrays("bars", image.astype(np.uint8), label, 2)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GAN_JAX_CACHE", "on")
    return tmp_path / "gan_jax" / "features"


@pytest.fixture(scope="module")
def trained():
    return classifier(bars(), **SMALL)


def test_what_it_is(trained):
    """Features are at least 0, the logits are linear in them, and the accuracy is that on the held-out images."""
    source = bars()
    images = source.read(np.arange(200))["image"]
    features, logits = extract(trained, [images])
    assert features.shape == (200, trained.size) == (200, 8)
    assert features.min() == 0 < features.max()
    head = trained.params["logits"]
    np.testing.assert_allclose(logits, features @ head["kernel"] + head["bias"], atol=1e-5)
    order = np.asarray(jax.random.permutation(jax.random.key(0), 200))
    correct = logits.argmax(axis=1) == source.read(np.arange(200))["label"]
    assert trained.held_out == 40
    assert trained.accuracy == pytest.approx(correct[order[:40]].mean())
    assert trained.accuracy > 0.9
    # These very words: they enter `protocol` of a run.
    assert trained.notes == (f"classifier of the data's classes, accuracy {trained.accuracy:.4f} on 40 held out",)


def test_the_same_again_and_kept(trained, home, monkeypatch):
    """Training is reproducible bit for bit. A cached classifier isn't trained again, unless something changes."""
    again = classifier(bars(), **SMALL)
    assert again.weights == trained.weights
    (path,) = home.iterdir()
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files if name != "key"}
    monkeypatch.setattr(module, "train", lambda *_: pytest.fail("trained again"))
    read = classifier(bars(), **SMALL)
    assert (read.weights, read.accuracy, read.held_out) == (again.weights, again.accuracy, again.held_out)
    calls = []
    monkeypatch.setattr(module, "train", lambda *a: calls.append(a) or kept)
    for source, settings in [
        (bars(), {**SMALL, "seed": 1}),
        (bars(), {**SMALL, "rate": 1e-3}),
        (bars(seed=1), SMALL),
    ]:
        classifier(source, **settings)
    assert len(calls) == 3


def test_stacked_by_hand(trained):
    """The label is 4 a + 2 b + c with a from the first channel; probabilities are products."""
    rows = bars(30, seed=5).read(np.arange(30))
    images = np.concatenate([rows["image"][i : i + 10] for i in (0, 10, 20)], axis=-1)
    single = extract(trained, [rows["image"]])[1].astype(np.float64)
    named = single.argmax(axis=1)
    expected = 4 * named[:10] + 2 * named[10:20] + named[20:]
    assert len(set(expected)) > 3
    features, logits = extract(stacked(trained), [images])
    assert features.shape == (10, 24)
    np.testing.assert_array_equal(logits.argmax(axis=1), expected)
    p = np.exp(single) / np.exp(single).sum(axis=1, keepdims=True)
    products = np.einsum("na,nb,nc->nabc", p[:10], p[10:20], p[20:]).reshape(10, 8)
    np.testing.assert_allclose(np.exp(logits), products, rtol=1e-4, atol=1e-7)


def test_what_cannot_be_read(trained):
    with pytest.raises(ValueError, match="reads images of"):
        trained.apply(trained.params, np.zeros((1, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="stacked images have three channels, got 1"):
        stacked(trained).apply(trained.params, np.zeros((1, 9, 10, 1), np.uint8))
    colour = dataclasses.replace(trained, shape=(9, 10, 3))
    with pytest.raises(ValueError, match="grey"):
        stacked(colour)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            Arrays("bare", np.zeros((50, 8, 8, 1), np.uint8)),
            "needs labels, .* use --features efficientnet_lite0, or metrics.features=",
        ),
        (Arrays("big", np.zeros((2, 65, 65, 1), np.uint8), np.zeros(2, np.int32), 2), "sides of 8 to 64 pixels"),
        (Arrays("points", np.zeros((50, 2), np.float32), np.zeros(50, np.int32), 2), "sides of 8 to 64 pixels"),
        (bars(12), "too few to train .* use --features efficientnet_lite0"),
    ],
)
def test_sets_it_cannot_learn(source, says):
    with pytest.raises(UserError, match=says):
        classifier(source, **SMALL)


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (28, 1), (32, 3), (64, 3)])
def test_maps_end_at_about_four(side, channels):
    network = Network(10, 32, 128)
    image = jax.ShapeDtypeStruct((2, side, side, channels), np.uint8)
    variables = jax.eval_shape(network.init, jax.random.key(0), image)
    kernels = [name for name in variables["params"] if name.startswith("kernel")]
    last = variables["params"]["features"]["kernel"].shape[0]
    assert last == 16 * 128
    assert len(kernels) == {8: 3, 28: 3, 32: 3, 64: 4}[side]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_digits():
    """With the defaults the accuracy on unseen digits is above 0.95, and the weights are reproducible."""
    first, second = classifier(digits()), classifier(digits())
    assert first.accuracy > 0.95
    assert first.weights == second.weights
