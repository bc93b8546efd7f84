"""`gan-jax sample`: grids, arrays and single images of a run."""

import numpy as np
import pytest
from PIL import Image

import runs
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
    assert " ".join(sample("--out", tmp_path / "images")) == f"5 images in {tmp_path}/images"
    single = sorted(map(str, (tmp_path / "images").iterdir()))
    with np.load(stored, allow_pickle=False) as arrays:
        images = arrays["image"]
    assert (images.shape, images.dtype) == ((5, 8, 8, 1), np.uint8)
    assert [path.rsplit("/", 1)[1] for path in single] == [f"{i:05d}.png" for i in range(5)]
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


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A conditional run of three classes with names, one of them with a slash."""
    folder = tmp_path_factory.mktemp("shapes")
    image = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
    np.savez(folder / "shapes.npz", image=image, label=np.arange(12) % 3, names=["circle", "a/b", "7"])
    config = runs.write_config(folder, runs.MLP)
    fields = ["data.source=npz", f"data.source.path={folder / 'shapes.npz'}", "conditional=true", "batch=4"]
    outcome = call("train", config, "steps=1", "sample.count=6", *fields, "--workdir", folder / "run")
    assert outcome.code == 0, outcome.err
    assert "\ndata: 12 images of 8x8x1; 3 classes: circle 4, a/b 4, 7 4\n" in outcome.err
    assert "step_00000001.png (each column is one class, from the left: circle, a/b, 7)\n" in outcome.err
    page = (folder / "run" / "report.html").read_text()
    assert "<figcaption>Samples at step 1. Each column is one class, from the left: circle, a/b, 7<" in page
    return folder / "run"


def test_classes_are_chosen_by_name(shapes, tmp_path):
    def arrays(labels):
        out = tmp_path / "x.npz"
        if isinstance(labels, str):
            outcome = call("sample", shapes, "--count", 4, "--labels", labels, "--out", out)
            assert outcome.code == 0, outcome.err
        else:
            sample_run.sample(shapes, count=4, labels=labels, out=out)
        with np.load(out, allow_pickle=False) as read:
            return dict(read)

    chosen = arrays("a/b,circle")
    assert set(chosen) == {"image", "label", "names"}
    assert chosen["label"].tolist() == [1, 0, 1, 0]
    assert chosen["label"].dtype == np.int32
    assert chosen["names"].tolist() == ["circle", "a/b", "7"]
    assert (arrays(["a/b", 0])["image"] == chosen["image"]).all()
    assert arrays("7, 1")["label"].tolist() == [2, 1, 2, 1]  # the class named 7; 1 names no class
    sentence(call("sample", shapes, "--labels", "circles"), "no class 'circles': did you mean 'circle'?")
    sentence(call("sample", shapes, "--interpolate", 2, "--labels", "3"), "labels must be from 0 to 2, or a name")
    sentence(call("sample", shapes, "--neighbours", 1, "--labels", "x,y"), "'x': there are circle, a/b, 7")


def test_single_images_lie_in_the_folder_of_their_class(shapes, tmp_path):
    outcome = call("sample", shapes, "--count", 4, "--out", tmp_path / "s")
    paths = ["circle/00000.png", "a_b/00000.png", "7/00000.png", "circle/00001.png"]
    assert outcome.out == f"4 images in {tmp_path}/s, in a folder for each class\n"
    assert all((tmp_path / "s" / path).is_file() for path in paths)


def test_a_grid_says_which_class_is_where(shapes, tmp_path):
    grid = call("sample", shapes, "--count", 6, "--labels", "a/b,circle", "--out", tmp_path / "a.png")
    assert grid.err == "each row is one class, from the top: a/b, circle\n"
    assert grid.out == f"{tmp_path}/a.png\n"
    walk = call("sample", shapes, "--interpolate", 2, "--count", 2, "--out", tmp_path / "b.png")
    assert walk.err == "each row is one class, from the top: circle, a/b\n"


def test_evaluate_keeps_the_classes_on_the_page(shapes):
    before = (shapes / "report.html").read_text().count("circle, a/b, 7")
    assert before == 4  # of the reals and of the samples, each below the image and in its place
    assert call("evaluate", shapes, "--count", 12, "--features", "fake_features:quarters").code == 0
    page = (shapes / "report.html").read_text()
    assert page.count("circle, a/b, 7") == before
    assert "frechet" in page


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A run whose samples are made from rows of a file."""
    folder = tmp_path_factory.mktemp("pairs")
    image = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
    np.savez(folder / "pairs.npz", image=image)
    config = runs.write_config(folder, runs.MLP.replace('latent=Call("normal", size=8),', 'inputs=Call("image"),'))
    fields = ["data.source=npz", f"data.source.path={folder / 'pairs.npz'}", "batch=4", "sample.count=4"]
    outcome = call("train", config, "steps=1", *fields, "--workdir", folder / "run")
    assert outcome.code == 0, outcome.err
    return folder


def test_samples_of_other_data_are_noted(pairs, tmp_path):
    def drawn(*more):
        outcome = call("sample", pairs / "run", "--count", 4, "--out", tmp_path / "x.npz", *more)
        assert outcome.code == 0, outcome.err
        with np.load(tmp_path / "x.npz") as file:
            return outcome.err, file["image"]

    said, image = drawn()
    assert said == ""
    (pairs / "pairs.npz").rename(tmp_path / "moved.npz")
    sentence(call("sample", pairs / "run"), "there is no file", "where: --data PATH")
    said, same = drawn("--data", tmp_path / "moved.npz")
    assert said == ""
    np.testing.assert_array_equal(image, same)
    scored = call(
        "evaluate", pairs / "run", "--count", 12, "--features", "fake_features:quarters",
        "--allow", "fake_features", "--data", tmp_path / "moved.npz",
    )  # fmt: skip
    assert scored.code == 0, scored.err
    np.savez(pairs / "pairs.npz", image=np.zeros((12, 8, 8, 1), np.uint8))
    said, other = drawn()
    assert said.startswith("note: the run was trained on other data, npz ")
    assert (other != image).any()
    np.savez(pairs / "pairs.npz", image=np.zeros((12, 4, 4, 1), np.uint8))
    sentence(call("sample", pairs / "run"), "the data have shape (4, 4, 1) now")


def test_data_where_no_sample_is_made_from_data(trained):
    sentence(call("sample", trained, "--data", "x"), "--data is for --neighbours")
    sentence(call("sample", trained, "--interpolate", 2, "--data", "x"), "--data is for samples")
