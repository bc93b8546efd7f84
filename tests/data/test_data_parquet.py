import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gan_jax import cli
from gan_jax.data import decoded, memory, parquet_files, read_all, read_images
from gan_jax.data.folder import folder
from gan_jax.data.image_set import used_labels
from gan_jax.data.parquet import parquet
from gan_jax.data.parquet_splits import split_of
from gan_jax.data.source import class_names, notes
from gan_jax.errors import UserError

NAMES = ["ant", "bee", "cow"]
HF_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def encode(pixels, kind="png", **options) -> bytes:
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


def random_files(count, seed=0) -> list[bytes]:
    """Returns PNG and JPEG files of mixed sizes and modes, one of them turned by its EXIF orientation."""
    rng = np.random.default_rng(seed)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for number in range(count):
        height, width = rng.integers(5, 12, 2)
        pixels = rng.integers(0, 256, (height, width, 4 if number % 4 == 2 else 3), np.uint8)
        files.append(encode(pixels) if number % 2 == 0 else encode(pixels, "jpeg", exif=exif))
    return files


def write_parquet(path, files, label=None, names=None, *, struct=True, key="image", **options):
    """Writes what `datasets.Dataset.to_parquet` writes, metadata included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if struct:
        rows = [file if file is None else {"bytes": file, "path": f"{i}.png"} for i, file in enumerate(files)]
        columns = {key: pa.array(rows, HF_IMAGE)}
    else:
        columns = {key: pa.array(files, pa.binary())}
    features = {key: {"_type": "Image"}}
    if label is not None:
        columns["label"] = pa.array(label)
        features["label"] = (
            {"names": names, "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
        )
    table = pa.table(columns)
    described = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    pq.write_table(table.replace_schema_metadata(described), path, **{"row_group_size": 3, **options})


def test_it_equals_the_folder_of_the_same_files(tmp_path):
    files, label = random_files(11), [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    for number, (file, cls) in enumerate(zip(files, label)):
        target = tmp_path / "folder" / NAMES[cls] / f"{number:02}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file)
    hub = tmp_path / "hub"
    write_parquet(hub / "data" / "train-00000-of-00002.parquet", files[:7], label[:7], NAMES)
    write_parquet(hub / "data" / "train-00001-of-00002.parquet", files[7:], label[7:], NAMES)
    write_parquet(hub / "data" / "test-00000-of-00001.parquet", files[:2], label[:2], NAMES)
    expected = folder(str(tmp_path / "folder"), size=8, filter="bicubic", mirror=True)
    source = parquet(str(hub), size=8, filter="bicubic", mirror=True)
    assert class_names(source) == tuple(NAMES)
    assert (source.shape, source.classes, len(source)) == (expected.shape, 3, 22)
    rng = np.random.default_rng(1)
    for rows in (np.arange(22), rng.integers(0, 22, 40)):
        for key in ("image", "label"):
            np.testing.assert_array_equal(source.read(rows)[key], expected.read(rows)[key])
    assert source.read(rows)["label"].dtype == np.int32
    assert notes(source) == [
        "note: 11 rows are used of the splits test 2, train 11; data.source.split chooses others"
    ]


def test_splits(tmp_path):
    files, label = random_files(10), list(range(10))
    write_parquet(tmp_path / "train" / "0000.parquet", files[:8], label[:8])
    write_parquet(tmp_path / "validation" / "0000.parquet", files[8:], label[8:])

    def labels(split):
        source = parquet(str(tmp_path), split, size=4)
        assert source.classes == 10  # the same number means the same class in each split
        return read_all(source)["label"].tolist()

    assert labels(None) == labels("train") == list(range(8))
    assert labels("train[:75%]") == list(range(6))
    assert labels("train[75%:]") == [6, 7]
    assert labels("validation+train[:1]") == [8, 9, 0]
    assert labels("all") == list(range(10))
    with pytest.raises(UserError, match="has no split 'test': it has train, validation"):
        labels("test")
    with pytest.raises(UserError, match=r"split 'train\[:x\]' of '.*' cannot be read"):
        labels("train[:x]")
    with pytest.raises(UserError, match="no rows in its split"):
        labels("train[3:3]")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("data/train-00000-of-00003-a1b2c3.parquet", "train"), ("test/0001.parquet", "test"), ("a.parquet", "train"),
     ("val.parquet", "validation"), ("x-test-00000-of-00001.parquet", "test"),
     ("unlabeled-0-of-1.parquet", "unlabeled"),
     ("my_training_set/part2.parquet", "train"), ("latest.parquet", "train")],
)  # fmt: skip
def test_names_of_splits(name, expected):
    assert split_of(name) == expected


def test_labels_without_names_and_text(tmp_path):
    files = random_files(5)
    path = tmp_path / "a.parquet"
    write_parquet(path, files, [3, 1, 1, 2, 3])
    source = parquet(str(path), size=4)
    assert read_all(source)["label"].tolist() == [2, 0, 0, 1, 2]
    assert class_names(source) == ("1", "2", "3")
    assert notes(source) == used_labels(np.array([3, 1, 1, 2, 3]))[2] != []
    words = ["c10", "c2", "c2", "c1", "c10"]
    for column in (words, pa.array(words).dictionary_encode()):
        write_parquet(path, files, column)
        source = parquet(str(path), size=4)
        assert read_all(source)["label"].tolist() == [2, 1, 1, 0, 2]
        assert class_names(source) == ("c1", "c2", "c10")
        assert notes(source) == []
    write_parquet(path, files, [True, False, True, False, False])
    assert read_all(parquet(str(path), size=4))["label"].tolist() == [1, 0, 1, 0, 0]
    assert parquet(str(path), size=4, label_key="").classes is None
    for column, words in (
        ([0.5, 1, 2, 3, 4], "is double, but labels are integers or text"),
        ([1, None, 2, 3, 4], "has no label in row 1"),
    ):
        write_parquet(path, files, column)
        with pytest.raises(UserError, match=words):
            parquet(str(path), size=4)
    write_parquet(path, files, [0, 1, -1, 2, 2], NAMES)
    with pytest.raises(UserError, match=r"row 2 of '.*a.parquet' has the label -1, outside the 3 classes"):
        parquet(str(path), size=4)


def test_splits_without_labels_are_no_obstacle(tmp_path):
    files = random_files(3)
    train, test = tmp_path / "train.parquet", tmp_path / "test.parquet"
    for label, names, expected in (
        ([0, 2, 1], NAMES, NAMES), ([0, 2, 1], None, ["0", "1", "2"]), (["b", "a", "c"], None, ["a", "b", "c"]),
    ):  # fmt: skip
        write_parquet(train, files, label, names)
        missing = ["c", "c", None] if label[0] == "b" else [-1, -1, -1]  # as in the test sets of competitions
        for unlabelled in (missing, [label[0], None, None], None):
            write_parquet(test, files, unlabelled, names if unlabelled else None)
            source = parquet(str(tmp_path), size=4)
            assert class_names(source) == tuple(expected)
            labels = label if isinstance(label[0], int) else [expected.index(name) for name in label]
            assert read_all(source)["label"].tolist() == labels
    write_parquet(train, files, [0, 2, 1], NAMES)
    write_parquet(test, files, [-1, -1, -1], NAMES)
    with pytest.raises(UserError, match=r"row 0 of '.*test.parquet' has the label -1, outside the 3 classes"):
        parquet(str(tmp_path), "test", size=4)
    write_parquet(test, files)
    assert parquet(str(tmp_path), "test", size=4).classes is None
    with pytest.raises(UserError, match=r"'.*test.parquet' has no column 'label'"):
        parquet(str(tmp_path), "all", size=4)


def test_columns_by_other_names(tmp_path):
    files = random_files(3)
    path = tmp_path / "a.parquet"
    write_parquet(path, files, struct=False, key="img")
    plain = read_all(parquet(str(path), size=4))["image"]
    write_parquet(path, files, key="img")
    np.testing.assert_array_equal(read_all(parquet(str(path), size=4))["image"], plain)
    with pytest.raises(UserError, match="has no column 'fine'"):
        parquet(str(path), size=4, label_key="fine")
    with pytest.raises(
        UserError, match=r"no column 'photo': pass one of its columns of images as data.source.image_key: img"
    ):
        parquet(str(path), size=4, image_key="photo")
    pq.write_table(pa.table({"image": [1, 2]}), path)
    with pytest.raises(UserError, match=r"column 'image' of .* is int64, not images"):
        parquet(str(path), size=4)


def test_the_fingerprint_is_of_the_images_and_their_labels(tmp_path):
    files, label = random_files(7), [0, 1, 2, 0, 1, 2, 0]
    write_parquet(tmp_path / "a" / "a.parquet", files, label, NAMES)
    write_parquet(tmp_path / "b" / "x-00000-of-00002.parquet", files[:2], label[:2], NAMES, compression="zstd")
    write_parquet(tmp_path / "b" / "x-00001-of-00002.parquet", files[2:], label[2:], NAMES, row_group_size=1)
    first = parquet(str(tmp_path / "a"), size=4).fingerprint()
    assert parquet(str(tmp_path / "b"), size=4).fingerprint() == first
    for changed in ((files[::-1], label, NAMES), (files, label[::-1], NAMES)):
        write_parquet(tmp_path / "a" / "a.parquet", *changed)
        assert parquet(str(tmp_path / "a"), size=4).fingerprint() != first


def test_few_row_groups_are_kept(tmp_path, monkeypatch):
    files = random_files(12)
    write_parquet(tmp_path / "a.parquet", files, row_group_size=2)
    everything = read_all(parquet(str(tmp_path), size=4))["image"]
    monkeypatch.setattr(parquet_files, "_KEPT_BYTES", 1)
    source = parquet(str(tmp_path), size=4)
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_array_equal(source.read(order)["image"], everything[order])
    assert len(source._container._kept) == 1


def test_broken_rows_are_named(tmp_path):
    files = random_files(9)
    write_parquet(tmp_path / "train-00000-of-00002.parquet", files[:5])
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [files[5], None, b"text", files[8][:60]])
    with pytest.raises(UserError) as error:
        parquet(str(tmp_path), size=4)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(
        f"3 of the 9 images under '{tmp_path}' cannot be read: train-00001-of-00002.parquet/row 1"
    )
    assert "row 1 (it has no bytes: embed the image files when you write the set)" in message
    assert "/row 2 (" in message
    assert "/row 3 (" in message
    one = tmp_path / "train-00001-of-00002.parquet"
    with pytest.raises(UserError, match=re.escape(f"3 of the 4 images under '{one}' cannot be read: row 1 (")):
        parquet(str(one), size=4)
    write_parquet(one, files[5:])
    with pytest.raises(
        UserError, match=r"differ in size: '.*/row 0' is \d+x\d+, '.*/row \d' .* pass data.source.size"
    ):
        parquet(str(tmp_path))


def test_hostile_files_give_one_sentence(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, random_files(6), [0, 1, 2, 0, 1, 2], NAMES)
    whole = path.read_bytes()
    cases = {
        b"": "cannot be read as a parquet file",
        b"PAR1" + bytes(40) + b"PAR1": "cannot be read as a parquet file",
        whole[:-9]: "cannot be read as a parquet file",
        b"\x89PNG" + bytes(100): "cannot be read as a parquet file",
        whole[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1": "cannot be read as a parquet file",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n": "is a pointer of Git LFS .* `git lfs pull`",
    }
    for content, words in cases.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match=words) as error:
            parquet(str(path), size=4)
        assert "\n" not in str(error.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no .parquet files under"):
        parquet(str(tmp_path / "empty"))
    with pytest.raises(UserError, match="there is no file or folder"):
        parquet(str(tmp_path / "nowhere"))


def test_files_that_unpack_to_much_more_than_their_bytes(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    repeated = encode(np.zeros((100, 100, 3), np.uint8)) + bytes(2**16)
    write_parquet(path, [repeated] * 1000, row_group_size=1000)
    assert path.stat().st_size < 20_000
    source = parquet(str(path), size=4)  # 65 MB, which take the memory of one
    assert parquet_files._memory(*source._container._kept.values()) < 80_000
    monkeypatch.setattr(memory, "_SMALL", 2**20)
    write_parquet(path, [bytes([i]) * 2**18 for i in range(8)], use_dictionary=False, compression="zstd")
    with pytest.raises(UserError, match=r"unpacks to 2,097,\d{3} bytes, more than 100 times its own"):
        parquet(str(path), size=4)


def test_rows_that_are_decoded_anew_are_the_same_and_said_to_be_slow(tmp_path, monkeypatch):
    write_parquet(tmp_path / "a.parquet", random_files(9))
    kept = parquet(str(tmp_path), size=4)
    monkeypatch.setattr(decoded, "LIMIT_BYTES", 0)
    monkeypatch.setattr(read_images, "available_memory_bytes", lambda: 0)
    (tmp_path / "b").mkdir()
    (tmp_path / "a.parquet").rename(tmp_path / "b" / "a.parquet")
    source = parquet(str(tmp_path), size=4, filter="box")
    assert len(notes(source)) == 1
    assert "`gan-jax prepare` writes a set that is quicker" in notes(source)[0]
    monkeypatch.undo()
    expected = read_all(parquet(str(tmp_path), size=4, filter="box"))["image"]
    order = np.random.default_rng(0).permutation(9)
    np.testing.assert_array_equal(source.read(order)["image"], expected[order])
    assert notes(kept) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_damaged_files_end_in_one_sentence():
    """In a process of its own: pyarrow ends the process where some damaged descriptions are read."""
    here = Path(__file__).parent
    outcome = subprocess.run(
        [sys.executable, str(here / "damaged_parquet.py")], capture_output=True, text=True, cwd=here, check=False
    )
    assert (outcome.returncode, outcome.stdout) == (0, "done\n"), outcome.stderr[-2000:]


def test_data_describes_a_folder_of_parquet_files(tmp_path, capsys):
    files = [encode(np.full((8, 8, 3), shade, np.uint8)) for shade in range(3)]
    write_parquet(tmp_path / "train-0-of-1.parquet", files, [0, 1, 1], NAMES)
    assert cli.main(["data", str(tmp_path), "--grid", str(tmp_path / "grid.png")]) == 0
    shown = capsys.readouterr().out
    assert "ant" in shown
    assert "bee" in shown


def test_several_data_sets_in_a_folder_are_refused(tmp_path):
    for config in ("en", "fr"):
        write_parquet(tmp_path / config / "train-00000-of-00001.parquet", random_files(2))
    with pytest.raises(
        UserError, match=re.escape("has split 'train' in several folders (en, fr): pass one of them")
    ):
        parquet(str(tmp_path), size=4)
    write_parquet(tmp_path / "a" / "train-0-of-2.parquet", random_files(2), [0, 1], NAMES)
    write_parquet(tmp_path / "a" / "train-1-of-2.parquet", random_files(2), [0, 1], NAMES[::-1])
    with pytest.raises(UserError, match="gives other names to the classes of 'label'"):
        parquet(str(tmp_path / "a"), size=4)
