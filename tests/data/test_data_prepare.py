import gzip
import importlib.util
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.crc32c import crc32c as reference_crc32c
from tensorboardX.record_writer import RecordWriter

from gan_jax.data import read_all
from gan_jax.data.prepare import prepare_set
from gan_jax.data.prepare.fashion_mnist import DEBIAN_FOLDER, missing_files
from gan_jax.data.prepare.tfrecord import crc32c, read_tfrecord
from gan_jax.data.tfds import tfds
from gan_jax.errors import UserError


def silent(line: str) -> None:
    del line


def array_records(path: Path) -> list[bytes]:
    from array_record.python import array_record_module

    reader = array_record_module.ArrayRecordReader(str(path))
    records = reader.read_all()
    reader.close()
    return records


def write_tfrecord(path: Path, records: list[bytes]) -> None:
    writer = RecordWriter(str(path))  # not our own writer, which might share a bug with our reader
    for record in records:
        writer.write(record)
    writer.close()


@pytest.fixture
def tfrecord_copy(tide_pool) -> Path:
    """Returns a data_dir with the set "tide_pool" in tfrecord files, the default format of TFDS."""
    folder = tide_pool / "tide_pool" / "1.2.0"
    for shard in list(folder.glob("*array_record*")):
        write_tfrecord(folder / shard.name.replace("array_record", "tfrecord"), array_records(shard))
        shard.unlink()
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    return tide_pool


@pytest.mark.parametrize(
    ("content", "expected"),
    # From RFC 3720, B.4; b"123456789" is the check value in the catalogue of CRCs.
    [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E),
     (bytes(range(31, -1, -1)), 0x113FDB5C), (b"123456789", 0xE3069283), (b"", 0)],
)  # fmt: skip
def test_crc32c_vectors(content, expected):
    assert crc32c(content) == expected


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 2047, 2048, 2049, 2050, 4096, 4099, 10_001])
def test_crc32c_equals_the_reference(length):
    content = np.random.default_rng(length).bytes(length)
    assert crc32c(content) == reference_crc32c(content)


def test_tfrecords_are_read(tmp_path):
    records = [b"", b"one", np.random.default_rng(0).bytes(5000)]
    write_tfrecord(tmp_path / "a.tfrecord", records)
    assert list(read_tfrecord(tmp_path / "a.tfrecord")) == records
    (tmp_path / "empty").touch()
    assert list(read_tfrecord(tmp_path / "empty")) == []


def test_every_changed_byte_and_every_truncation_is_an_error(tmp_path):
    write_tfrecord(tmp_path / "a", [b"some bytes", b"more"])
    whole = (tmp_path / "a").read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        (tmp_path / "b").write_bytes(damaged)
        with pytest.raises(UserError, match=f"'.*b' is damaged at record {int(position >= 26)}, .*checksum"):
            list(read_tfrecord(tmp_path / "b"))
    for length in set(range(1, len(whole))) - {26}:
        (tmp_path / "b").write_bytes(whole[:length])
        with pytest.raises(UserError, match=f"damaged at record {int(length > 26)}, the file ends within it"):
            list(read_tfrecord(tmp_path / "b"))


def test_a_length_beyond_the_file_is_an_error(tmp_path):
    head = struct.pack("<Q", 2**40)
    crc = reference_crc32c(head)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    (tmp_path / "a").write_bytes(head + struct.pack("<I", masked) + bytes(100))
    with pytest.raises(UserError, match="the file ends within it"):
        list(read_tfrecord(tmp_path / "a"))


def test_a_tfrecord_copy_is_converted(tfrecord_copy, prepared_once):
    import tensorflow_datasets

    folder = tfrecord_copy / "tide_pool" / "1.2.0"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    lines = []
    assert prepare_set("tide_pool", data_dir=str(tfrecord_copy), report=lines.append) == folder
    assert len(lines) == 2
    for shard in (prepared_once / "tide_pool" / "1.2.0").glob("*array_record*"):
        assert array_records(folder / shard.name) == array_records(shard)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: after[name] for name in before if name != "dataset_info.json"} == {
        name: content for name, content in before.items() if name != "dataset_info.json"
    }
    assert not [name for name in after if name.startswith("incomplete")]
    for split in ("train", "test", "train[3:20]"):
        ours = read_all(tfds("tide_pool", split, str(tfrecord_copy)))
        reference = read_all(tfds("tide_pool", split, str(prepared_once)))
        for name in ("image", "label"):
            np.testing.assert_array_equal(ours[name], reference[name])
    # TFDS itself reads the array_record files now, and its info still names tfrecord as the main format.
    by_tfds = tensorflow_datasets.data_source("tide_pool", split="test", data_dir=str(tfrecord_copy))
    assert len(by_tfds) == 7
    assert by_tfds[0]["image"].shape == (6, 5, 3)
    assert (
        tensorflow_datasets.builder("tide_pool", data_dir=str(tfrecord_copy)).info.file_format.value == "tfrecord"
    )


def test_a_ready_set_is_not_changed(tfrecord_copy):
    path = prepare_set("tide_pool", data_dir=str(tfrecord_copy), report=silent)
    stamps = {file: file.stat().st_mtime_ns for file in path.iterdir()}
    lines = []
    assert prepare_set("tide_pool", data_dir=str(tfrecord_copy), report=lines.append) == path
    assert lines == [f"tide_pool is ready in {path}"]
    assert {file: file.stat().st_mtime_ns for file in path.iterdir()} == stamps


def test_a_flipped_byte_stops_the_conversion(tfrecord_copy):
    folder = tfrecord_copy / "tide_pool" / "1.2.0"
    shard = sorted(folder.glob("*train.tfrecord*"))[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=f"{shard.name}' is damaged at record") as error:
        prepare_set("tide_pool", data_dir=str(tfrecord_copy), report=silent)
    assert "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_incomplete_copies_are_refused(tfrecord_copy):
    folder = tfrecord_copy / "tide_pool" / "1.2.0"
    shard = sorted(folder.glob("*test.tfrecord*"))[0]
    records = list(read_tfrecord(shard))
    write_tfrecord(shard, records[:-1])
    with pytest.raises(UserError, match=f"has {len(records) - 1} records, but its dataset_info.json says"):
        prepare_set("tide_pool", data_dir=str(tfrecord_copy), report=silent)
    shard.unlink()
    with pytest.raises(UserError, match="lacks its file"):
        prepare_set("tide_pool", data_dir=str(tfrecord_copy), report=silent)
    assert not list(folder.glob("*array_record*"))
    assert "alternativeFileFormats" not in json.loads((folder / "dataset_info.json").read_text())


def test_an_error_says_that_a_set_needs_tensorflow(tmp_path):
    if importlib.util.find_spec("tensorflow"):
        pytest.skip("TensorFlow is installed here")
    with pytest.raises(UserError, match=r"'cifar10' needs TensorFlow once.*pip install 'gan_jax\[prepare\]'"):
        prepare_set("cifar10", data_dir=str(tmp_path), report=silent)
    with pytest.raises(UserError, match=r"or `apt-get install dataset-fashion-mnist`"):
        prepare_set("fashion_mnist", data_dir=str(tmp_path), manual_dir=str(tmp_path), report=silent)
    with pytest.raises(UserError, match=r"no set 'cifra10'.* did you mean cifar10"):
        prepare_set("cifra10", data_dir=str(tmp_path), report=silent)
    assert list(tmp_path.iterdir()) == []


def test_wrong_fashion_mnist_files_are_named(tmp_path):
    for prefix in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (tmp_path / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz' is not the original"):
        prepare_set("fashion_mnist", data_dir=str(tmp_path / "out"), manual_dir=str(tmp_path), report=silent)


def test_missing_fashion_mnist_files_are_named(tmp_path):
    """The error does not depend on TensorFlow, which could not use the files."""
    for name in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        (tmp_path / name).write_bytes(b"")
    missing = f"'{tmp_path}' lacks train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz: put"
    with pytest.raises(UserError, match=re.escape(missing)):
        prepare_set("fashion_mnist", data_dir=str(tmp_path / "out"), manual_dir=str(tmp_path), report=silent)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_fashion_mnist_of_debian(tmp_path):
    if missing_files(DEBIAN_FOLDER):
        pytest.skip("no Debian package dataset-fashion-mnist")
    path = prepare_set("fashion_mnist", data_dir=str(tmp_path), report=silent)
    assert path == tmp_path / "fashion_mnist" / "3.0.1"
    assert [child.name for child in tmp_path.iterdir()] == ["fashion_mnist"]
    for split, prefix in (("train", "train"), ("test", "t10k")):
        packed = (DEBIAN_FOLDER / f"{prefix}-images-idx3-ubyte.gz").read_bytes()
        images = np.frombuffer(gzip.decompress(packed), np.uint8, offset=16).reshape(-1, 28, 28, 1)
        packed = (DEBIAN_FOLDER / f"{prefix}-labels-idx1-ubyte.gz").read_bytes()
        labels = np.frombuffer(gzip.decompress(packed), np.uint8, offset=8)
        rows = read_all(tfds("fashion_mnist", split, str(tmp_path)))
        expected = sorted(zip((image.tobytes() for image in images), labels.tolist()))
        assert sorted(zip((image.tobytes() for image in rows["image"]), rows["label"].tolist())) == expected
