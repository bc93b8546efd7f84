"""`gan-jax init`: the config that it writes trains, and no file is lost."""

import dataclasses
import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from gan_jax import config as configs
from gan_jax.config.build import SampleSpec, make_gan, make_source
from runs import call, checkpoints, sentence

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


@pytest.mark.slow
def test_its_config_trains_on_a_folder_of_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my images").mkdir()
    for index in range(4):
        pixels = np.full((70 + index, 90, 3), 50 * index, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "my images" / f"{index}.png")
    written = call("init", "my_photos.py")
    assert written.code == 0, written.err
    assert written.out.splitlines()[-1] == "gan-jax train my_photos.py data.source.path=FOLDER"
    config = configs.load("my_photos.py")
    configs.validate(config)
    assert config.name == "my_photos"
    small = ["generator.width=4", "discriminator.width=4", "batch=2", "steps=1", "data.source.path=my images"]
    trained = call("train", "my_photos.py", *small)
    assert trained.code == 0, trained.err
    assert checkpoints(tmp_path / "runs" / "my_photos") == [1]


def test_every_field_has_a_comment(tmp_path):
    call("init", tmp_path / "mine.py")
    lines = (tmp_path / "mine.py").read_text().splitlines()
    pairs = [(before.strip(), line.strip()) for before, line in pairwise(lines) if re.match(r" {8}\w", line)]
    names = {line.partition("=")[0] for _, line in pairs}
    assert len(names) >= 12
    assert names <= {field.name for field in dataclasses.fields(configs.Config)}
    without = [line for before, line in pairs if not before.startswith("# ")]
    assert [line.partition("=")[0] for line in without] == ["discriminator_optimizer"]  # one comment for both
    assert max(map(len, lines)) <= 115


def test_what_it_refuses(tmp_path):
    (tmp_path / "mine.py").write_text("mine")
    sentence(call("init", tmp_path / "mine.py"), "mine.py is there already")
    assert (tmp_path / "mine.py").read_text() == "mine"
    for name in ("mine", "mine.txt", "..py", 'a"b.py', "a\\b.py", "a\nb.py"):
        sentence(call("init", tmp_path / name), "give a plain name that ends in .py")
    sentence(call("init", tmp_path / "no" / "mine.py"), "can't write", "No such file or directory")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_it_suits_the_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, count in (("circle", 9), ("square", 3)):
        (tmp_path / 'my "shapes"' / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.full((40 + index, 90, 3), 20 * index, np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'my "shapes"' / name / f"{index}.png")
    outcome = call("init", "mine.py", "--data", 'my "shapes"')
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines() == [
        "wrote mine.py for 12 images of 32x64x3; 2 classes: circle 9, square 3",
        "set its fields, then train it:",
        "gan-jax train mine.py",
    ]
    config = configs.load("mine.py")
    assert config.name == "mine"  # so the run lies in runs/mine
    assert config.data.source == configs.Call("folder", path='my "shapes"', size="32x64", mirror=True)
    assert (config.conditional, config.batch) == (True, 8)
    assert max(map(len, (tmp_path / "mine.py").read_text().splitlines())) <= 115

    np.savez("grey.npz", image=np.zeros((70, 28, 28), np.uint8))
    assert call("init", "grey.py", "--data", "grey.npz").code == 0
    config = configs.load("grey.py")
    assert config.data.source == configs.Call("npz", path="grey.npz", size=28, mirror=True)
    assert (config.conditional, config.batch) == (False, 64)
    make_gan(config, SampleSpec.of(make_source(config)))


def test_data_that_it_refuses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((2, 8, 8), np.uint8))
    np.savez("vectors.npz", image=np.zeros((4, 2), np.float32))
    (tmp_path / "empty").mkdir()
    for data, words in {
        "x.npy": "np.savez('x.npz', image=np.load('x.npy'))",
        "nowhere": "there is no 'nowhere': give --data a folder of images, or a .zip",
        "vectors.npz": "holds samples of shape",
        "empty": "no images",
    }.items():
        sentence(call("init", "a.py", "--data", data), words)
    assert not (tmp_path / "a.py").exists()
