"""`gan-jax recipes`, and recipes by name."""

import runpy

import pytest

from devices import ROOT
from gan_jax import config as configs
from gan_jax.config.recipes import recipes
from gan_jax.errors import UserError
from runs import call, sentence


def test_every_recipe_is_listed_with_its_first_line():
    outcome = call("recipes")
    assert outcome.code == 0, outcome.err
    listed = [line.split(maxsplit=1) for line in outcome.out.splitlines()]
    files = sorted((ROOT / "configs").glob("*.py"))
    assert listed == [[file.stem, runpy.run_path(str(file))["__doc__"].splitlines()[0]] for file in files]


def test_a_recipe_is_found_by_its_name_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = configs.load(ROOT / "configs" / "digits.py")
    assert configs.load("digits") == wanted
    (tmp_path / "digits").mkdir()  # such as a folder with images
    assert configs.load("digits") == wanted
    assert configs.load(str(recipes()["digits"])) == wanted


def test_a_file_goes_before_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "from gan_jax.config import Config\ndef get_config():\n    return Config(name='a')\n"
    (tmp_path / "digits").write_text(text)
    assert configs.load("digits").name == "a"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("digit", "did you mean digits or moving_digits or stacked_digits?"),
        ("configs/gaussian.py", "did you mean gaussians?"),
        ("my_own.py", "did you mean my_own_photos.py?"),
        ("qqqq", "gan-jax recipes lists those that come with gan_jax"),
    ],
)
def test_near_names(name, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_own_photos.py").touch()
    sentence(call("train", name), f"no config file or recipe {name!r}: {hint}")
    with pytest.raises(UserError):
        configs.load(name)
    assert [path.name for path in tmp_path.iterdir()] == ["my_own_photos.py"]
