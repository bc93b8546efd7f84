"""Tests of the stacked source: its channels, its labels, and the draws of its rows."""

import numpy as np
import pytest

from gan_jax import config
from gan_jax.config import Call, Config, Data
from gan_jax.config import build as recipe
from gan_jax.data.arrays import Arrays
from gan_jax.data.digits import digits
from gan_jax.data.gaussians import gaussians
from gan_jax.data.stacked import stacked, stacked_label
from gan_jax.errors import UserError


def numbered_rows(classes=3):
    """Returns a source whose row i has the value i everywhere and the label i mod classes."""
    image = np.broadcast_to(np.arange(9, dtype=np.uint8)[:, None, None, None], (9, 2, 2, 1))
    return Arrays("numbered", image.copy(), (np.arange(9) % classes).astype(np.int32), classes)


def test_channels_and_labels():
    source = stacked(numbered_rows(), count=50)
    assert (len(source), source.shape, source.classes) == (50, (2, 2, 3), 27)
    rows = source.read(np.arange(50))
    channels = rows["image"][:, 0, 0].astype(int)  # [50, 3]
    assert (rows["image"] == channels[:, None, None]).all()
    a, b, c = (channels % 3).T
    np.testing.assert_array_equal(rows["label"], 9 * a + 3 * b + c)
    assert rows["label"].dtype == np.int32


def test_a_row_does_not_depend_on_the_other_rows_that_are_read():
    source = stacked(numbered_rows(), count=50)
    whole, subset = source.read(np.arange(50)), source.read(np.array([7, 49, 7]))
    for name in ("image", "label"):
        np.testing.assert_array_equal(subset[name], whole[name][[7, 49, 7]])


def test_draws_depend_on_the_seed_and_are_uniform():
    first = stacked(digits(), count=4000, seed=1).read(np.arange(4000))
    again = stacked(digits(), count=4000, seed=1).read(np.arange(4000))
    other = stacked(digits(), count=4000, seed=2).read(np.arange(4000))
    np.testing.assert_array_equal(first["image"], again["image"])
    assert (first["label"] != other["label"]).mean() > 0.9
    found = np.bincount(first["label"], minlength=1000)
    assert (found > 0).sum() == pytest.approx(
        1000 * (1 - np.exp(-4)), abs=25
    )  # 4 images a class: 1.8 % of the classes stay empty


def test_a_config_names_the_source():
    named = Config(name="s", data=Data(source=Call("stacked", source=Call("digits", size=16), count=10)))
    named = config.override(named, ["data.source.source.size=12"])
    config.validate(named)
    assert config.from_json(config.to_json(named)) == named
    assert recipe.make_source(named).shape == (12, 12, 3)


def test_stacked_label_by_hand():
    assert stacked_label(np.array([[9, 0, 3]]), 10).tolist() == [903]


@pytest.mark.parametrize("source", [digits(channels=3), gaussians(count=10)])
def test_refuses_a_source_without_a_single_channel(source):
    with pytest.raises(UserError, match="stacked needs one-channel images with labels"):
        stacked(source)


def test_refuses_no_images():
    with pytest.raises(UserError, match="count of the stacked images must be at least 1, not 0"):
        stacked(digits(), count=0)


def test_the_stacked_source_must_be_given():
    named = Config(name="s", data=Data(source=Call("stacked")))
    with pytest.raises(UserError, match=r"data.source=stacked needs source: say data.source.source=..."):
        recipe.make_source(named)
