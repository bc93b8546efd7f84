"""`gan-jax compare`: sets of every kind, its table, its JSON file, and its mistakes."""

import json

import numpy as np
import pytest
from PIL import Image

from gan_jax.commands.open_set import _source, open_set
from gan_jax.config import Call
from gan_jax.data.digits import digits
from gan_jax.errors import UserError
from gan_jax.metrics.record import Record, readable
from runs import call, sentence

pytestmark = pytest.mark.timeout(60)

QUARTERS = ["--features", "fake_features:quarters"]
ALL = digits().image


def write_images(folder, images):
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / f"{i:03}.png")
    return folder


def test_a_folder_and_an_npz_file(tmp_path):
    """The same 40 images, of another kind and with labels, are the same set."""
    photos = write_images(tmp_path / "photos" / "cat", ALL[:20]).parent
    write_images(photos / "dog", ALL[20:40])
    np.savez(tmp_path / "same.npz", image=ALL[:40], label=np.arange(40) % 3)
    outcome = call("compare", photos, tmp_path / "same.npz", *QUARTERS, "--json", tmp_path / "numbers.json")
    assert (outcome.code, outcome.err) == (0, "")
    numbers, facts = outcome.out.split("\n\n")
    names = ["frechet", "kernel", "precision", "recall", "density", "coverage"]
    written = json.loads((tmp_path / "numbers.json").read_text())
    assert {(one.pop("A"), one.pop("B")) for one in written} == {(str(photos), str(tmp_path / "same.npz"))}
    records = [Record.from_json(one) for one in written]
    assert [record.metric for record in records] == names
    assert [line.split()[:2] for line in numbers.splitlines()] == [[r.metric, readable(r.value)] for r in records]
    assert records[2].value == records[3].value == 1
    assert f"A         {photos}: 40 images, images n=40" in " ".join(facts.split("\n")).replace("           ", " ")
    assert "A and B are the same images" in facts
    assert max(map(len, outcome.out.splitlines())) < 100


def test_sizes_and_count(tmp_path):
    small, large = write_images(tmp_path / "small", ALL[:30]), tmp_path / "large.npz"
    np.savez(large, image=ALL[:50].repeat(2, axis=1).repeat(2, axis=2))
    sentence(call("compare", small, large, *QUARTERS), "resize both by --size 8")
    outcome = call("compare", small, large, *QUARTERS, "--size", 8, "--count", 20, "--metrics", "frechet")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("20 images, ") == 2
    write_images(tmp_path / "mixed", [ALL[0], ALL[1].repeat(2, axis=1)])
    sentence(call("compare", tmp_path / "mixed", large, *QUARTERS), "differ in size", "pass --size N")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tfds:mnist", Call("tfds", name="mnist", label_key="")),
        ("tfds:mnist:test", Call("tfds", name="mnist", split="test", label_key="")),
        ("tfds:mnist:3.0.1", Call("tfds", name="mnist:3.0.1", label_key="")),
        ("tfds:mnist:3.0.1:train[:9]", Call("tfds", name="mnist:3.0.1", split="train[:9]", label_key="")),
        ("tfds:name=mnist,data_dir=x", Call("tfds", name="mnist", data_dir="x")),
        ("digits", Call("digits")),
    ],
)
def test_sets_by_name(text, expected):
    assert _source(text, None, False) == expected
    assert _source(text, "16x8", False) == Call(expected.name, **{**expected.kwargs, "size": "16x8"})


def test_labels_are_read_where_they_are_needed(tmp_path):
    np.savez(tmp_path / "a.npz", image=ALL[:40], label=np.arange(40) % 3)
    assert open_set(str(tmp_path / "a.npz")).classes is None
    assert open_set(str(tmp_path / "a.npz"), labels=True).classes == 3
    with pytest.raises(UserError, match="there is nothing at"):
        open_set(str(tmp_path / "none"))


def test_mistakes(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").touch()
    photos = write_images(tmp_path / "photos", ALL[:30])
    sentence(call("compare", photos, tmp_path / "none", *QUARTERS), "there is nothing at", "a folder or a zip")
    sentence(call("compare", photos, run, *QUARTERS), "is the workdir of a run", "gan-jax evaluate")
    sentence(call("compare", photos, photos, "--metrics", "fid"), "no metric 'fid'")
    sentence(call("compare", photos, photos, *QUARTERS, "--count", 1), "--count must be at least 2")
    sentence(call("compare", photos, photos, "--features", "classifier"), "needs labels", "efficientnet_lite0")
    sentence(
        call("compare", photos, photos, *QUARTERS, "--json", tmp_path / "no" / "a.json"), "--json", "No such file"
    )
