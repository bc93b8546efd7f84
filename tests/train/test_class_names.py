"""The data of a run that goes on: the names of its classes, and what gan_jax 0.1 knew of the contents."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gan_jax import config as configs
from gan_jax.config import Call, Config, Data
from gan_jax.config.build import SampleSpec
from gan_jax.data.folder import folder
from gan_jax.data.npz import npz
from gan_jax.data.source import as_known
from gan_jax.data.source import before as known_before
from gan_jax.errors import UserError
from gan_jax.train import history
from gan_jax.train.resume import check_record

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), np.uint8)


def source(path, names, images=IMAGE):
    label = np.arange(len(images)) % len(names)
    np.savez(path / "a.npz", image=images, label=label, names=np.array(names))
    return npz(str(path / "a.npz"))


def prepared(source, *known, conditional=True, steps=8) -> Any:
    """Returns what `prepare` would, as far as the checks read it."""
    source, _ = as_known(source, *(known or (None,)))
    config = Config("trial", steps=steps, conditional=conditional, data=Data(source=Call("npz", path="a.npz")))
    record = {
        "config": configs.to_json(config), "data": source.fingerprint(), "environment": {},
        "sample": json.loads(json.dumps(SampleSpec.of(source)._asdict())),
    }  # fmt: skip
    return SimpleNamespace(config=config, source=source, fingerprint=record["data"], record=record)


def goes_on(before, after, allowed=()):
    """Returns the notes and the rows of a run that goes on at step 4."""
    notes = check_record(before.record, after, allowed)
    return notes, history.changes(4, before.record, after, allowed)


def test_names_that_change_their_labels_are_refused(tmp_path):
    first = prepared(source(tmp_path, ["cat", "dog"]))
    for images in (IMAGE, IMAGE[::-1]):
        swapped = prepared(source(tmp_path, ["dog", "cat"], images))
        with pytest.raises(UserError, match="class names were cat, dog, are now dog, cat: names would change"):
            check_record(first.record, swapped, ["data"])
    moved = prepared(source(tmp_path, ["dog", "fish"]))
    with pytest.raises(UserError, match="are now dog, fish: names would change their labels"):
        check_record(first.record, moved)


def test_other_names_of_the_same_data_are_noted_and_written_down(tmp_path):
    first, second = (prepared(source(tmp_path, names)) for names in (["cat", "dog"], ["cat", "hound"]))
    notes, [row] = goes_on(first, second)
    assert notes == ["note: class names were dog, are now hound"]
    assert (row["step"], row["field"], row["before"], row["after"]) == (4, "class names", "dog", "hound")
    assert history.read_history({"history": [row]}) == [row]
    assert goes_on(second, second) == ([], [])
    ended = prepared(second.source, steps=4)  # a run that has ended may still draw its page
    first.record["config"] = ended.record["config"]
    assert goes_on(first, ended)[1] == []
    swapped = prepared(source(tmp_path, ["dog", "cat"]), conditional=False)
    unconditional = prepared(source(tmp_path, ["cat", "dog"]), conditional=False)
    assert goes_on(unconditional, swapped)[0] == ["note: class names were cat, dog, are now dog, cat"]


def test_other_classes_in_new_data(tmp_path):
    first = prepared(source(tmp_path, ["cat", "dog"]))
    other = prepared(source(tmp_path, ["car", "bus"], IMAGE[::-1]))
    with pytest.raises(UserError, match="were cat, dog, are now car, bus: other classes are another run"):
        check_record(first.record, other, ["data"])
    numbers = prepared(source(tmp_path, ["0", "1"], IMAGE[::-1]))
    for before, after in ((numbers, first), (first, numbers)):
        notes, rows = goes_on(before, after, ["data"])
        assert len(notes) == 1
        assert [row["field"] for row in rows] == ["data", "class names"]


def test_new_data_are_said_in_words(tmp_path):
    first = prepared(source(tmp_path, ["cat", "dog"]))
    more = prepared(source(tmp_path, ["cat", "dog"], np.concatenate([IMAGE, IMAGE])))
    other = prepared(source(tmp_path, ["cat", "dog"], IMAGE[::-1]))
    text = "changed at step 4: data 8 images of 8x8x1; 2 classes: cat, dog -> "
    for after, words in ((more, "16 images of 8x8x1; 2 classes: cat, dog"), (other, "the same number, with")):
        _, [row] = goes_on(first, after, ["data"])
        assert history.text(row).startswith(text + words)
        assert (row["before"], row["after"]) == (first.fingerprint, after.fingerprint)


def write(root, tones):
    for i, tone in enumerate(tones):
        path = root / str(i) / "a.ppm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"P6 4 4 255\n" + bytes([tone]) * 48)


def test_the_contents_of_a_run_of_before_are_checked_from_its_next_checkpoint_on(tmp_path):
    write(tmp_path, range(12))
    first = prepared(folder(str(tmp_path)))
    [_, old] = known_before(folder(str(tmp_path))) or ("", "")  # a constant of gan_jax 0.1 is in tests/data
    first.record["data"] = old
    del first.record["sample"]["class_names"]
    second = prepared(folder(str(tmp_path)), old)
    [note], rows = goes_on(first, second)
    assert "from now on their contents are checked" in note
    assert rows == []
    assert second.record["data"] == second.fingerprint != old
    assert second.record["sample"]["class_names"][:3] == ["0", "1", "10"]
    third = prepared(folder(str(tmp_path)), second.fingerprint)
    assert goes_on(second, third) == ([], [])
    assert third.record == second.record
    assert len(goes_on(first, third)[0]) == 1  # the newest checkpoint was passed over for one of before
    write(tmp_path, range(100, 112))  # files of the same names and sizes
    other = prepared(folder(str(tmp_path)), second.fingerprint, second.record["sample"]["class_names"])
    with pytest.raises(UserError, match="the data are not those"):
        check_record(second.record, other)
    notes, [row] = goes_on(second, other, ["data"])  # with the order of the classes that the run has
    assert notes == []
    assert "the same number, with other contents" in history.text(row)
    (tmp_path / "3" / "b.ppm").write_bytes(b"P6 4 4 255\n" + bytes(48))
    notes, [row] = goes_on(first, prepared(folder(str(tmp_path)), old, None), ["data"])
    assert notes == []
    assert "12 images" in row["text"]
    assert "13 images of 4x4x3; 12 classes: 0, 1, 10" in row["text"]
