"""`gan-jax init`: the config that it writes trains, and no file is lost."""

import dataclasses
import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from gan_jax import config as configs
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
