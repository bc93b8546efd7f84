"""`gan-jax project`, `gan-jax directions` and `gan-jax sample --from`: what they write, keep and refuse."""

import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import runs
from gan_jax.latent_space import directions, kept
from runs import call, sentence

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(directions, "DRAWN", 500)


QUICK = ("--iterations", 20, "--candidates", 50, "--starts", 2)


@pytest.fixture(scope="module")
def projected(trained, tmp_path_factory):
    """A run that keeps the latents of an image of another size, and of three of its own samples."""
    workdir, folder = shutil.copytree(trained, tmp_path_factory.mktemp("p") / "run"), tmp_path_factory.mktemp("i")
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(15, 20)).convert("RGB").save(folder / "a b.png")
    call("sample", workdir, "--seed", 3, "--count", 3, "--out", folder / "own.npz")
    outcome = call("project", workdir, folder / "a b.png", folder / "own.npz", *QUICK)
    assert outcome.code == 0, outcome.err
    return workdir, folder, outcome


def images_of(workdir, *arguments, out):
    outcome = call("sample", workdir, *arguments, "--out", out)
    assert outcome.code == 0, outcome.err
    with np.load(out, allow_pickle=False) as arrays:
        return arrays["image"]


def test_project_writes_and_keeps(projected):
    workdir, _, outcome = projected
    shown = workdir / "projections" / "a_b"
    files = [shown / name for name in ("found.png", "way.gif", "distance.svg", "projection.npz")]
    names = [workdir / "latents" / name for name in ("a_b.npz", "own.npz")]
    assert outcome.out.split() == [str(path) for path in [*names, *files]]
    assert "note: 'a b.png' is resized to 8x8 pixels, as the run's data were (from 15x20)\n" in outcome.err
    assert "distance: pixels alone; images of 8x8 pixels are too small" in outcome.err
    assert outcome.err.count(": PSNR ") == 5
    assert "own.npz: PSNR of 3 images: least " in outcome.err
    with np.load(files[-1], allow_pickle=False) as arrays:
        assert arrays["image"].shape == arrays["target"].shape == (4, 8, 8, 1)
        assert arrays["distances"].shape == (20, 4)
    with Image.open(files[1]) as gif:
        assert gif.n_frames > 5
    root = ElementTree.fromstring(files[2].read_bytes())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall(".//{*}path")) == 4
    assert kept.read_latents(workdir, "own").latents.shape == (3, 8)


def test_kept_latents_are_drawn_again(projected, tmp_path):
    workdir, _, _ = projected
    with np.load(workdir / "projections" / "a_b" / "projection.npz", allow_pickle=False) as arrays:
        found = arrays["image"]
    again = images_of(workdir, "--from", "a_b,own", out=tmp_path / "x.npz")
    np.testing.assert_array_equal(again, found)
    walk = images_of(workdir, "--from", "a_b,own", "--interpolate", 3, out=tmp_path / "walk.npz")
    np.testing.assert_array_equal(walk[::3], found)
    assert len(walk) == 12
    outcome = call("sample", workdir, "--from", "own", "--interpolate", 3, "--out", tmp_path / "walk.gif")
    assert outcome.out == f"{tmp_path}/walk.gif\n"
    older = call("sample", workdir, "--from", "own", "--step", 10)
    assert older.err == "note: own was found at step 20, and this is step 10\n"
    assert older.out == f"{workdir}/kept_00000010.png\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_kept_is_not_replaced_by_accident(projected, tmp_path):
    workdir, folder, _ = projected
    before = runs.files(workdir)
    sentence(call("project", workdir, folder / "own.npz", *QUICK), "the name own already", "--replace")
    assert runs.files(workdir) == before
    copied = shutil.copytree(workdir, tmp_path / "run")
    assert call("project", copied, folder / "own.npz", *QUICK, "--replace", "--seed", 1).code == 0
    other = call("project", copied, folder / "own.npz", *QUICK, "--name", "other", "--out", tmp_path / "shown")
    assert other.out.split()[:2] == [str(copied / "latents" / "other.npz"), str(tmp_path / "shown" / "found.png")]


def test_images_that_cannot_be_projected(projected, tmp_path):
    workdir, folder, _ = projected
    before = runs.files(workdir)
    whole = (folder / "a b.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "floats.npz", image=np.full((2, 8, 8), np.nan))
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "own.png").write_bytes(whole)
    for name, words in {
        "missing.png": "there is no image", "again": "is a folder: give its images, as in",
        "cut.png": "cannot be read as an image", "bad.npz": "not a whole .npz",
        "text.png": "cannot be read as an image", "floats.npz": "uint8 of shape [n, H, W, 1 or 3]",
    }.items():  # fmt: skip
        sentence(call("project", workdir, tmp_path / name, "--name", "new"), name, words)
    sentence(call("project", workdir, folder / "own.npz", tmp_path / "again" / "own.png"), "the same name")
    for options, words in {
        ("--name", "../x"): "is no name to keep latents under", ("--labels", "3"): "not conditional",
        ("--space", "w"): "no space w: it has z", ("--starts", 0): "starts must be at least 1",
    }.items():  # fmt: skip
        sentence(call("project", workdir, folder / "a b.png", "--replace", *options), words)
    assert runs.files(workdir) == before


def test_what_cannot_be_drawn_again(projected):
    workdir, _, _ = projected
    for words, expected in {
        ("--from", "own", "--mix", 2): "no space w+: it has z", ("--mix", 2): "name them, as --from NAME,NAME",
        ("--from", "a_b", "--interpolate", 3): "a walk needs two latents",
        ("--from", "a_b", "--count", 3): "--count is not for kept latents",
        ("--from", "a_b", "--seed", 3): "--seed is not for kept latents",
        ("--from", "a_c"): "keeps no latents under the name a_c", ("--from", "../a"): "is no name",
        ("--from", "a_b", "--out", "x.wav"): "not written as .wav",
        ("--from", "a_b", "--truncation", 0.5): "has none: leave it at 1.0",
    }.items():  # fmt: skip
        sentence(call("sample", workdir, *words), expected)


def test_latents_of_another_generator(projected, tmp_path):
    workdir, _, _ = projected
    copied = shutil.copytree(workdir, tmp_path / "run")
    kept.keep_latents(copied, "other", kept.KeptLatents(np.ones((1, 5), np.float32), "z", 20))
    sentence(call("sample", copied, "--from", "other"), "the latents have shape (1, 5)", "[count, 8]")


def test_directions_are_found_and_kept(projected, tmp_path):
    workdir = shutil.copytree(projected[0], tmp_path / "run")
    outcome = call("directions", workdir, "--count", 3)
    assert outcome.code == 0, outcome.err
    files = [f"{name}.{ending}" for name in ("sefa", "pca") for ending in ("npz", "png")]
    assert outcome.out.split() == [str(workdir / "directions" / file) for file in files]
    assert "each row is one direction, from the top: sefa 1, sefa 2, sefa 3\n" in outcome.err
    assert kept.direction_names(workdir) == ["pca", "sefa"]
    assert kept.read_directions(workdir, "pca").vectors.shape == (3, 8)
    assert call("directions", workdir, "--method", "sefa").code == 0  # again
    moved = call("directions", workdir, "--method", "sefa", "--from", "own", "--name", "mine")
    assert moved.code == 0, moved.err
    for words, expected in {
        ("--method", "sefa", "--name", "mine"): "the name mine already", ("--method", "svd"): "no 'svd'",
        ("--name", "x"): "for one --method at a time", ("--method", "pca", "--label", "3"): "not conditional",
        ("--space", "w"): "no space w", ("--count", 0): "--count must be at least 1",
        ("--method", "sefa", "--out", "x.jpg"): "is a .png",
    }.items():  # fmt: skip
        sentence(call("directions", workdir, *words), expected)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_class_means_of_a_run_that_does_not_see_the_classes(projected, tmp_path):
    """The classifier of the digits is trained once; what an untrained generator shows is up to it."""
    workdir = shutil.copytree(projected[0], tmp_path / "run")
    outcome = call("directions", workdir, "--method", "classes")
    assert "classifier of the data's classes, accuracy 0." in outcome.err
    if outcome.code == 0:
        names = kept.read_directions(workdir, "classes").names
        assert set(names) <= set("0123456789")
    else:
        assert "fewer than two classes" in outcome.err


STYLED = (
    "generator=stylegan2", "generator.channel_max=4", "generator.w_size=6", "generator.mapping_layers=2",
    "generator.style_mixing=0.5", "conditional=true",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mixing_of_stylegan2(config, tmp_path):
    quick = ("--iterations", 6, "--candidates", 20, "--starts", 2)
    workdir, out = tmp_path / "run", tmp_path / "x.npz"
    trained = call("train", config, "steps=2", *STYLED, "--workdir", workdir)
    assert trained.code == 0, trained.err
    call("sample", workdir, "--count", 2, "--labels", "4,7", "--out", tmp_path / "own.npz")
    sentence(
        call("project", workdir, tmp_path / "own.npz", "--labels", "4,7,1", *quick), "more than the images (2)"
    )
    outcome = call("project", workdir, tmp_path / "own.npz", "--labels", "4,7", *quick)
    assert outcome.code == 0, outcome.err
    stored = kept.read_latents(workdir, "own")
    assert (stored.space, stored.latents.shape, stored.labels.tolist()) == ("w", (2, 6), [4, 7])
    assert len(stored.noise) == 3
    for space in ("z", "w+"):
        words = ("--space", space, "--name", f"in{space}", "--labels", "4,7")
        assert call("project", workdir, tmp_path / "own.npz", *words, *quick).code == 0
    mixed = images_of(workdir, "--from", "own", "--mix", 2, out=out)
    assert mixed.shape == (4, 8, 8, 1)
    assert (mixed[0] != mixed[1]).any()
    assert len(images_of(workdir, "--from", "own,inz,inw+", "--mix", 1, "--truncation", 0.7, out=out)) == 36
    walk = images_of(workdir, "--from", "own,inz,inw+", "--interpolate", 2, out=out)
    assert len(walk) == 12
    sentence(call("sample", workdir, "--from", "own", "--mix", 9), "--mix must be from 1 to 3 coarse layers")
    made = call("directions", workdir, "--method", "sefa,pca,classes", "--from", "inw+")
    assert made.code == 0, made.err
    assert kept.read_directions(workdir, "classes").names == tuple("0123456789")
    assert {kept.read_directions(workdir, name).space for name in ("sefa", "pca", "classes")} == {"w"}
    sentence(call("directions", workdir, "--space", "z", "--method", "pca", "--from", "own"), "cannot move it")


def test_links_in_a_workdir_lead_nowhere(trained, tmp_path):
    """A workdir may come from anyone: nothing is written behind a link in it."""
    workdir, outside = shutil.copytree(trained, tmp_path / "run"), tmp_path / "outside"
    outside.mkdir()
    for folder in ("projections", "directions", "card"):
        (workdir / folder).symlink_to(outside, target_is_directory=True)
    call("sample", workdir, "--count", 1, "--out", tmp_path / "own.npz")
    for command in (
        ("project", workdir, tmp_path / "own.npz", *QUICK),
        ("directions", workdir),
        ("card", workdir),
    ):
        outcome = call(*command)
        assert outcome.code == 2
        assert "it is a link, not a folder" in outcome.err.splitlines()[-1]
    assert not any(outside.iterdir())
    assert (workdir / "latents" / "own.npz").is_file()  # what took the time is not lost
