"""`gan-jax sample`: grids, arrays and single images of a run."""

import numpy as np
import pytest
from PIL import Image

from gan_jax import report
from gan_jax.commands import sample_run
from runs import call, sentence

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


def test_samples_of_another_ending(trained, tmp_path):
    sentence(call("sample", trained, "--out", tmp_path / "out.jpg"), ".jpg", "a .png or .npz file, or a folder")
    assert not list(tmp_path.iterdir())
    (tmp_path / "v1.0").mkdir()  # one that is there is meant
    assert call("sample", trained, "--count", 1, "--out", tmp_path / "v1.0").out == f"{tmp_path}/v1.0/00000.png\n"


def test_samples_are_drawn_in_the_run_s_own_precision(trained, tmp_path, monkeypatch):
    """What `tf32` asks of a platform reaches the program that draws them."""
    traced = []

    def with_precision(precision, function):
        traced.append(precision)
        return function

    monkeypatch.setattr(
        "gan_jax.runtime.precision.matmul_precision", lambda config, platform: f"{config.tf32} on {platform}"
    )
    monkeypatch.setattr("gan_jax.runtime.sampler.traced_with", with_precision)
    sample_run.sample(trained, count=2, out=tmp_path / "a.png")
    assert traced == ["True on cpu"]


def test_sample(trained, tmp_path):
    def sample(*arguments):
        outcome = call("sample", trained, "--count", 5, *arguments)
        assert outcome.code == 0, outcome.err
        return outcome.out.split()

    (grid,) = sample("--out", tmp_path / "grid.png")
    (stored,) = sample("--out", tmp_path / "some.npz")
    single = sample("--out", tmp_path / "images")
    with np.load(stored, allow_pickle=False) as arrays:
        images = arrays["image"]
    assert (images.shape, images.dtype) == ((5, 8, 8, 1), np.uint8)
    assert [path.rsplit("/", 1)[1] for path in single] == [f"{i:05d}.png" for i in range(5)]
    assert sorted(map(str, (tmp_path / "images").iterdir())) == single
    for path, image in zip(single, images):
        with Image.open(path) as read:
            assert (np.asarray(read) == image[..., 0]).all()
    with Image.open(grid) as read:
        assert (np.asarray(read) == report.grid(images)).all()

    def arrays_of(*arguments):
        (path,) = sample("--out", tmp_path / "again.npz", *arguments)
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["image"]

    assert (arrays_of("--seed", 0) == images).all()
    assert (arrays_of("--seed", 1) != images).any(axis=(1, 2, 3)).all()
    assert (arrays_of("--step", 10) != images).any(axis=(1, 2, 3)).all()
    (default,) = sample()
    assert default == str(trained / "samples_00000020.png")
    (trained / "samples_00000020.png").unlink()
