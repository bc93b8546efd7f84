import copy
import functools
import json
import operator
import sys

import numpy as np
import pytest

from gan_jax.data import Loader, read_all
from gan_jax.data.loader import read_rows
from gan_jax.data.tfds import tfds
from gan_jax.errors import UserError


class Garbage:
    """Records that TFDS cannot parse."""

    def __len__(self):
        return 23

    def __getitems__(self, indices):
        return [b"\xff\xfe garbage"] * len(indices)


def sorted_rows(source):
    """Returns the images of a source as bytes with their labels, sorted, because TFDS shuffles what it writes."""
    rows = read_all(source)
    return sorted((image.tobytes(), int(label)) for image, label in zip(rows["image"], rows["label"]))


def test_a_prepared_set_is_read(prepared_once, sea_creatures):
    for split, (images, labels) in sea_creatures.items():
        source = tfds("tide_pool", split, str(prepared_once))
        assert (source.shape, source.dtype, source.classes, len(source)) == ((6, 5, 3), np.uint8, 3, len(images))
        assert sorted_rows(source) == sorted((i.tobytes(), int(n)) for i, n in zip(images, labels))
    shards = list((prepared_once / "tide_pool" / "1.2.0").glob("*train.array_record*"))
    assert len(shards) == 3  # so reading crossed from one file to the next
    assert "tensorflow" not in sys.modules


def test_splits_are_sliced(prepared_once):
    whole = read_all(tfds("tide_pool", "train", str(prepared_once)))["image"]
    other = read_all(tfds("tide_pool", "test", str(prepared_once)))["image"]
    for split, expected in [
        ("train[:10]", whole[:10]),
        ("train[7:19]", whole[7:19]),
        ("train[-4:]", whole[-4:]),
        ("train[:9]+test[5:]", np.concatenate([whole[:9], other[5:]])),
        ("all", np.concatenate([whole, other])),
    ]:
        source = tfds("tide_pool", split, str(prepared_once))
        assert len(source) == len(expected)
        np.testing.assert_array_equal(read_all(source)["image"], expected)
    source = tfds("tide_pool", "train", str(prepared_once))
    np.testing.assert_array_equal(source.read(np.array([20, 3, 3]))["image"], whole[[20, 3, 3]])
    assert source.read(np.array([], np.int64))["image"].shape == (0, 6, 5, 3)
    with pytest.raises(IndexError):
        source.read(np.array([23]))


def test_image_options_and_labels(prepared_once):
    path = str(prepared_once)
    assert tfds("tide_pool", data_dir=path, size=16, channels=1).shape == (16, 16, 1)
    mirrored = tfds("tide_pool", data_dir=path, mirror=True)
    pair = mirrored.read(np.array([2, 2 + 23]))["image"]
    np.testing.assert_array_equal(pair[0], pair[1][:, ::-1])
    unlabelled = tfds("tide_pool", data_dir=path, label_key="")
    assert unlabelled.classes is None
    assert set(unlabelled.read(np.array([0]))) == {"image"}
    assert unlabelled.fingerprint() != tfds("tide_pool", data_dir=path).fingerprint()
    assert tfds("tide_pool:1.2.0", data_dir=path).fingerprint() == tfds("tide_pool", data_dir=path).fingerprint()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(split="trian"), "no split 'trian': it has train, test|it has test, train"),
        (dict(split="train[:x]"), r"split 'train\[:x\]'"),
        (dict(split="train[:0]"), r"split 'train\[:0\]'"),
        (dict(image_key="picture"), "no feature 'picture': it has"),
        (dict(image_key="depth"), "Scalar of float32, not an 8-bit image|Tensor of float32"),
        (dict(label_key="kind"), "no class labels 'kind': it has label"),
        (dict(label_key="depth"), "no class labels 'depth': it has label"),
    ],
)
def test_wrong_options_are_one_sentence(prepared_once, options, message):
    with pytest.raises(UserError, match=message) as error:
        tfds("tide_pool", data_dir=str(prepared_once), **options)
    assert "\n" not in str(error.value)


def test_an_absent_set_names_the_command(prepared_once, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared_once))
    assert len(tfds("tide_pool")) == 23
    with pytest.raises(
        UserError,
        match=r"is not in '.*': run `gan-jax prepare cifar10`, .*name, or another folder in TFDS_DATA_DIR$",
    ):
        tfds("cifar10")
    with pytest.raises(
        UserError,
        match=r"run `gan-jax prepare mnist --data-dir '/no such place'`, .*data.source.name, .*data_dir$",
    ):
        tfds("mnist", data_dir="/no such place")
    with pytest.raises(UserError, match=r"prepare tide_pool:9.0.0"):
        tfds("tide_pool:9.0.0")
    for name in ("../tide_pool", "tide_pool/..", "a b", ""):
        with pytest.raises(UserError, match="not the name of a TFDS set"):
            tfds(name)


def test_a_tfrecord_set_names_the_command(tide_pool):
    info = tide_pool / "tide_pool" / "1.2.0" / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(
        UserError, match=r"only as tfrecord, not as array_record,.* run `gan-jax prepare tide_pool --"
    ):
        tfds("tide_pool", data_dir=str(tide_pool))


def test_versions_and_configs(tide_pool):
    root = tide_pool / "tide_pool"
    (root / "1.10.0").mkdir()
    for file in (root / "1.2.0").iterdir():
        text = file.read_bytes()
        if file.name == "dataset_info.json":
            text = text.replace(b'"1.2.0"', b'"1.10.0"')
        (root / "1.10.0" / file.name).write_bytes(text)
    assert ":1.10.0 " in tfds("tide_pool", data_dir=str(tide_pool)).fingerprint()
    assert ":1.2.0 " in tfds("tide_pool:1.2.0", data_dir=str(tide_pool)).fingerprint()
    for config in ("deep", "shallow"):
        (root / config).mkdir()
    (root / "1.10.0").rename(root / "deep" / "1.10.0")
    assert len(tfds("tide_pool/deep", data_dir=str(tide_pool))) == 23
    (root / "1.2.0").rename(root / "shallow" / "1.2.0")
    with pytest.raises(UserError, match="several configs: name one of deep, shallow"):
        tfds("tide_pool", data_dir=str(tide_pool))
    (root / ".config").mkdir()
    (root / ".config" / "metadata.json").write_text(json.dumps({"default_config_name": "shallow"}))
    assert ":1.2.0 " in tfds("tide_pool", data_dir=str(tide_pool)).fingerprint()


def test_damaged_sets(tide_pool):
    folder = tide_pool / "tide_pool" / "1.2.0"
    shard = sorted(folder.glob("*train.array_record*"))[1]
    shard.rename(folder / "aside")
    with pytest.raises(UserError, match=f"lacks its file '.*{shard.name}'"):
        tfds("tide_pool", data_dir=str(tide_pool))
    (folder / "aside").rename(shard)
    features = (folder / "features.json").read_text()
    (folder / "features.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read as a TFDS set"):
        tfds("tide_pool", data_dir=str(tide_pool))
    (folder / "features.json").write_text(features)
    (folder / "dataset_info.json").write_text("[1, 2")
    with pytest.raises(UserError, match=r"dataset_info.json' cannot be read"):
        tfds("tide_pool", data_dir=str(tide_pool))


ODD = [None, "1000000000000", 10**400, ["../.."], {"a": True}, "\x1b[2J\n"]


def fields(tree, path=()):
    """Yields the path of each value in a JSON tree."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield (*path, key)
        yield from fields(value, (*path, key))


def test_any_value_in_the_info_is_read_or_refused_in_one_line(tide_pool):
    """Also a number of records that no memory holds an order of."""
    info = tide_pool / "tide_pool" / "1.2.0" / "dataset_info.json"
    tree, lengths, said = json.loads(info.read_text()), set(), ""
    for path in fields(tree):
        for value in ODD:
            changed = copy.deepcopy(tree)
            functools.reduce(operator.getitem, path[:-1], changed)[path[-1]] = value
            info.write_text(json.dumps(changed))
            try:
                lengths.add(len(tfds("tide_pool", data_dir=str(tide_pool))))
            except UserError as error:
                said += str(error)
    assert max(lengths) <= 23
    assert said.isprintable()


def test_absurd_numbers_of_records(tide_pool):
    info = tide_pool / "tide_pool" / "1.2.0" / "dataset_info.json"
    tree = json.loads(info.read_text())
    tree["splits"][0]["shardLengths"][0] = 10**12
    info.write_text(json.dumps(tree))
    with pytest.raises(UserError, match=r"claims 1,000,000,000,000 records in .*, which has \d"):
        tfds("tide_pool", data_dir=str(tide_pool))


def test_a_bomb_in_a_record_is_refused(prepared_once, monkeypatch):
    source = tfds("tide_pool", data_dir=str(prepared_once))
    monkeypatch.setattr("gan_jax.data.decode.MAX_PIXELS", 29)
    with pytest.raises(UserError, match=r"record 3 of 'tide_pool' .* cannot be decoded: it claims 30 pixels"):
        source.read(np.array([3]))


@pytest.mark.parametrize("form", ["newer", "older", "one in the other"])
def test_features_of_other_packages_are_not_imported(form, tide_pool, tmp_path, monkeypatch):
    (tmp_path / "strange_code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    file = tide_pool / "tide_pool" / "1.2.0" / "features.json"
    tree = json.loads(file.read_text())
    strange = {"type": "strange_code.Image", "content": {}}
    if form == "newer":
        tree["featuresDict"]["features"]["depth"]["pythonClassName"] = "strange_code.Image"
    elif form == "older":
        tree = {"type": tree["pythonClassName"], "content": {"image": strange}}
    else:
        tree["featuresDict"]["features"]["depth"] = {"jsonFeature": {"json": json.dumps({"feature": strange})}}
    file.write_text(json.dumps(tree))
    with pytest.raises(UserError, match=r"features.json' names the code 'strange_code.Image': only TFDS's own"):
        tfds("tide_pool", data_dir=str(tide_pool))
    assert not (tmp_path / "ran").exists()


def test_damaged_records_are_one_sentence(tide_pool):
    source = tfds("tide_pool", data_dir=str(tide_pool))
    source._records = Garbage()
    with pytest.raises(UserError, match=r"record 3 of .*'tide_pool' \(train\) cannot be read: ") as error:
        read_rows(source, np.array([3]))
    assert len(str(error.value).splitlines()) == 1


def test_fewer_classes_than_labels(tide_pool):
    folder = tide_pool / "tide_pool" / "1.2.0"
    text = (folder / "features.json").read_text().replace('"numClasses": "3"', '"numClasses": "2"')
    (folder / "features.json").write_text(text)
    (folder / "label.labels.txt").write_text("cat\ndog\n")
    with pytest.raises(UserError, match=r"has the label 2, outside its 2 classes: pass data.source.label_key=''"):
        read_all(tfds("tide_pool", data_dir=str(tide_pool)))


def test_real_fashion_mnist(real_tfds):
    source = tfds("fashion_mnist", data_dir=real_tfds)
    assert (len(source), source.shape, source.classes) == (60_000, (28, 28, 1), 10)
    rows = read_all(tfds("fashion_mnist", "test", real_tfds))
    assert np.bincount(rows["label"]).tolist() == [1000] * 10
    assert rows["image"].mean() == pytest.approx(73.1466, abs=1e-3)  # the published mean of the test images


def test_real_cifar10_as_tfds_decodes_it(real_tfds):
    import tensorflow_datasets

    reference = tensorflow_datasets.data_source("cifar10", split="train[:200]", data_dir=real_tfds)
    rows = read_all(tfds("cifar10", "train[:200]", real_tfds))
    for image, label, expected in zip(rows["image"], rows["label"], reference):
        np.testing.assert_array_equal(image, expected["image"])
        assert label == expected["label"]


def test_streamed_and_resident_real_batches(real_tfds):
    source = tfds("cifar10", "train[:300]", real_tfds, size=24)
    held = read_all(source)
    with (
        Loader(source, seed=4, batch=64, fuse=2, resident=False) as streamed,
        Loader(source, seed=4, batch=64, fuse=2, resident=True) as resident,
    ):
        for rows, chunk, _ in zip(streamed, resident, range(4)):
            for name in held:
                assert rows[name].tobytes() == held[name][chunk["index"]].tobytes()
