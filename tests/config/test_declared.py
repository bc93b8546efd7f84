"""What a config says of data that are not here."""

import numpy as np
import pytest

from gan_jax import config as configs
from gan_jax.config.declared import Declared, declared
from gan_jax.data.arrays import Arrays
from gan_jax.data.source import Mirrored
from gan_jax.errors import UserError


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)


def facts(recipe, *overrides):
    found = declared(configs.override(configs.load(recipe), overrides))
    return found.shape, found.classes, found.count


@pytest.mark.parametrize(
    ("recipe", "overrides", "expected"),
    [
        ("cifar10_dcgan", [], ((32, 32, 3), 10, 100_000)),  # with mirror images
        ("cifar10_dcgan", ["data.source.size=64", "data.source.channels=1"], ((64, 64, 1), 10, 100_000)),
        ("cifar10_dcgan", ["data.source.split=train[:1000]"], ((32, 32, 3), 10, None)),
        ("fashion_mnist_r3gan", [], ((28, 28, 1), 10, 60_000)),
        ("imagenet64_r3gan", [], ((64, 64, 3), 1000, 2_562_334)),
        ("ffhq64_r3gan", [], ((64, 64, 3), None, None)),
        ("stacked_mnist_r3gan", [], ((32, 32, 3), 1000, 128_000)),
        ("digits", [], ((16, 16, 1), 10, 1797)),  # these are here
    ],
)  # fmt: skip
def test_shape_classes_and_count(recipe, overrides, expected):
    assert facts(recipe, *overrides) == expected


def test_it_says_that_the_data_are_not_here():
    text = declared(configs.load("ffhq64_r3gan")).describe()
    assert text.startswith("data: images of 64x64x3, mirrored; no classes; the data are not here")
    digits = declared(configs.load("digits")).describe()
    assert digits == "data: 1,797 images of 16x16x1; 10 classes (174 to 183 images each)"
    assert np.dtype(declared(configs.load("digits")).spec.dtype) == np.uint8


@pytest.mark.parametrize(
    ("recipe", "overrides", "words"),
    [
        ("ffhq64_r3gan", ["data.source.size=none"], "does not say which size the images have"),
        ("ffhq64_r3gan", ["conditional=true"], "does not say how many classes there are"),
        ("cifar10_dcgan", ["data.source.name=unheard_of"], "does not say which size the images have"),
        ("cifar10_dcgan", ["data.source.size=0"], "size must be at least 1 pixel"),
    ],
)
def test_what_is_not_known(recipe, overrides, words):
    with pytest.raises(UserError, match=words):
        facts(recipe, *overrides)


def test_mirror_images_are_told_apart():
    images, label = np.zeros((3, 4, 4, 1), np.uint8), np.array([0, 1, 1], np.int32)
    source = Arrays("three", images, label, classes=2, class_names=("cat", "dog"))
    text = Declared.of(Mirrored(source)).describe()
    assert text == "data: 3 images of 4x4x1, mirrored to 6; 2 classes: cat 1, dog 2"
    elsewhere = Declared((4, 4, 1), np.dtype(np.uint8), None, 6, mirrored=True)
    assert elsewhere.describe().startswith(
        "data: 3 images of 4x4x1, mirrored to 6; no classes; the data are not here"
    )
