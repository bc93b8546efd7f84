"""`--data`: the location in a config, and nothing else of it, is replaced."""

import dataclasses
from typing import Any

import pytest

from gan_jax.config import Call, Config, Data
from gan_jax.config.location import located
from gan_jax.data.source import Source
from gan_jax.errors import UserError


def of(call: Call) -> Config:
    return Config(
        name="x", data=Data(source=call, workers=3), generator=Call("mlp"), discriminator=Call("mlp"), steps=10
    )


PHOTOS: Any = Call("folder", path="a", labels=False)


def deep(source: Source = PHOTOS):
    """A source of one's own around another, which is given by its default."""


def own(path: str, level: int = 3):
    """A source of one's own with a path."""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Call("folder", path="a", size=8), Call("folder", path="b", size=8)),
        (Call("npz", path="a.npz", label_key=""), Call("npz", path="b", label_key="")),
        (Call("tfds", name="mnist", split="test"), Call("tfds", name="mnist", split="test", data_dir="b")),
        (
            Call("stacked", count=5, source=Call("tfds", name="mnist", data_dir="a")),
            Call("stacked", count=5, source=Call("tfds", name="mnist", data_dir="b")),
        ),
        (Call(f"{__name__}:own", path="a", level=2), Call(f"{__name__}:own", path="b", level=2)),
        (Call(f"{__name__}:deep"), Call(f"{__name__}:deep", source=Call("folder", path="b", labels=False))),
    ],
)
def test_the_innermost_location_is_replaced(before, after):
    config = of(before)
    assert located(config, "b") == dataclasses.replace(config, data=dataclasses.replace(config.data, source=after))


@pytest.mark.parametrize("call", [Call("digits"), Call("gaussians"), Call("stacked", source=Call("digits"))])
def test_a_source_without_a_location_is_a_sentence(call):
    with pytest.raises(UserError, match="which reads none of your files: leave --data out"):
        located(of(call), "b")


def test_names_from_a_workdir_are_restricted():
    with pytest.raises(UserError, match="was read from a workdir"):
        located(of(Call("os:system", path="a")), "b", allow=[])


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("photos/cats/1.JPG", "data.source=folder data.source.path=photos, or"),
        ("photos/train-0.parquet", "data.source=parquet data.source.path=photos, or"),
        ("photos", "data.source=folder data.source.path=photos, or"),  # a zip file
        ("photos/notes.txt", None),
        ("photos/mnist/3.0.1/cat.jpg", None),
    ],
)
def test_own_images_in_place_of_a_tfds_set(tmp_path, monkeypatch, file, wanted):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    config = of(Call("stacked", source=Call("tfds", name="mnist:3.0.1")))
    if wanted is None:
        assert located(config, "photos").data.source.kwargs["source"].kwargs["data_dir"] == "photos"
        return
    with pytest.raises(UserError, match="are the TFDS set 'mnist:3.0.1', .*" + wanted):
        located(config, "photos")
