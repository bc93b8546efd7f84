import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gan_jax import cli
from gan_jax.data import read_all
from gan_jax.data.folder import folder
from gan_jax.data.prepare import array_record_set
from gan_jax.data.prepare.own_images import prepare_images
from gan_jax.data.source import class_names
from gan_jax.data.tfds import tfds
from gan_jax.errors import UserError

NAMES = ["class 2", "class 10", "zebra"]


def encode(pixels, kind="png", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def photos(count, seed=0) -> dict[str, bytes]:
    """Returns files of mixed sizes, formats and modes in three classes; some are turned by EXIF."""
    rng = np.random.default_rng(seed)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {}
    for number in range(count):
        height, width = rng.integers(6, 14, 2)
        pixels = rng.integers(0, 256, (height, width, 4 if number % 5 == 4 else 3), np.uint8)
        kinds = [("png", {}), ("jpeg", {}), ("jpeg", {"exif": exif}), ("webp", {"lossless": True}), ("png", {})]
        kind, options = kinds[number % 5]
        files[f"{NAMES[number % 3]}/{number:03}.{kind}"] = encode(pixels, kind, **options)
    return files


def write_files(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def prepare(path, name="mine", **options):
    lines = []
    return prepare_images(str(path), name, report=lines.append, **options), lines


def pairs(source):
    """Returns the samples as a sorted list, because a set has another order than its folder."""
    rows = read_all(source)
    return sorted(zip((image.tobytes() for image in rows["image"]), rows["label"].tolist()))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("container", ["folder", "zip"])
def test_the_set_of_a_folder_has_its_pixels_and_labels(tmp_path, container):
    import tensorflow_datasets

    files = photos(23)
    path = write_files(tmp_path / "photos", files)
    expected = folder(str(path), size="8x6")
    if container == "zip":
        path = tmp_path / "photos.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(f"photos/{name}", content)
    made, lines = prepare(path, data_dir=str(tmp_path / "sets"), size="8x6", shard_size=10)
    assert made == tmp_path / "sets" / "mine" / "1.0.0"
    assert lines == [f"mine is ready in {made}"]
    assert sorted(file.name for file in made.iterdir()) == [
        "dataset_info.json", "features.json", "gan_jax.json", "label.labels.txt",
        *(f"mine-train.array_record-0000{i}-of-00003" for i in range(3)),
    ]  # fmt: skip
    source = tfds("mine", data_dir=str(tmp_path / "sets"))
    assert class_names(source) == tuple(NAMES)
    assert source.shape == (8, 6, 3)
    assert pairs(source) == pairs(expected)
    # Not in the order of the classes, so that slices have all of them.
    assert set(read_all(tfds("mine", "train[:50%]", data_dir=str(tmp_path / "sets")))["label"]) == {0, 1, 2}
    builder = tensorflow_datasets.builder_from_directory(made)
    assert builder.info.features["label"].names == NAMES
    by_tfds = builder.as_data_source("train")
    rows = read_all(source)
    for index in (0, 11, 22):
        np.testing.assert_array_equal(by_tfds[index]["image"], rows["image"][index])
        assert by_tfds[index]["label"] == rows["label"][index]


def test_keep_stores_the_files_as_they_are(tmp_path):
    import tensorflow_datasets

    files = photos(15)
    path = write_files(tmp_path / "photos", files)
    made, _ = prepare(path, data_dir=str(tmp_path))
    assert pairs(tfds("mine", data_dir=str(tmp_path), size=7)) == pairs(folder(str(path), size=7))
    raw = tensorflow_datasets.decode.SkipDecoding()
    builder = tensorflow_datasets.builder_from_directory(made)
    stored = {row["image"] for row in builder.as_data_source("train", decoders={"image": raw})}
    kept = {content for content in files.values() if content in stored}
    # PNG and JPEG without rotation and transparency; WebP and the others became PNG.
    assert len(kept) == 6
    shapes = set()
    for row in builder.as_data_source("train"):  # TFDS sees them upright
        shapes.add(row["image"].shape)
    with Image.open(io.BytesIO(files[f"{NAMES[2]}/002.jpeg"])) as image:
        assert (image.width, image.height, 3) in shapes


def test_jpeg_and_grey(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "photos"
    write_files(path, {f"{i}.png": encode(rng.integers(0, 256, (16, 16), np.uint8)) for i in range(3)})
    prepare(path, data_dir=str(tmp_path), format="jpeg")
    source = tfds("mine", data_dir=str(tmp_path))
    assert source.shape == (16, 16, 1)
    assert source.classes is None
    near = read_all(source)["image"].astype(int)
    exact = read_all(folder(str(path)))["image"].astype(int)
    assert all(min(np.abs(row - other).mean() for other in exact) < 3 for row in near)


def test_splits_of_a_folder_share_their_classes(tmp_path):
    files = photos(12)
    write_files(tmp_path / "photos" / "train", files)
    held_out = {name: content for name, content in photos(6, seed=1).items() if not name.startswith(NAMES[0])}
    write_files(tmp_path / "photos" / "test", held_out)
    prepare(tmp_path / "photos", data_dir=str(tmp_path), size=8)
    for split in ("train", "test"):
        source = tfds("mine", split, data_dir=str(tmp_path))
        assert class_names(source) == tuple(NAMES)
        expected = pairs(folder(str(tmp_path / "photos" / split), size=8))
        shift = 1 if split == "test" else 0  # there is no "class 2"
        assert pairs(source) == [(image, label + shift) for image, label in expected]
    write_files(tmp_path / "photos" / "val", {"a.png": next(iter(files.values()))})
    with pytest.raises(UserError, match="split 'val' has no classes, but others have: pass --no-labels"):
        prepare(tmp_path / "photos", "other", data_dir=str(tmp_path), size=8)
    prepare(tmp_path / "photos", "other", data_dir=str(tmp_path), size=8, labels=False)
    assert tfds("other", "val", data_dir=str(tmp_path)).classes is None


def test_parquet_files_keep_their_order(tmp_path):
    files, label = list(photos(10).values()), [0] * 4 + [1] * 4 + [2] * 2
    features = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    for split, rows in (("train", slice(0, 8)), ("test", slice(8, 10))):
        table = pa.table({"image": [{"bytes": file, "path": None} for file in files[rows]], "label": label[rows]})
        pq.write_table(
            table.replace_schema_metadata(metadata), tmp_path / f"{split}-00000-of-00001.parquet", row_group_size=3
        )
    _, lines = prepare(tmp_path, data_dir=str(tmp_path / "sets"), size=8)
    assert len(lines) == 2
    assert "rows of split train are sorted by class" in lines[0]
    write_files(tmp_path / "photos", {f"{i:02}.png": file for i, file in enumerate(files)})
    expected = read_all(folder(str(tmp_path / "photos"), size=8))["image"]
    for split, rows in (("train", slice(0, 8)), ("test", slice(8, 10))):
        source = tfds("mine", split, data_dir=str(tmp_path / "sets"))
        assert class_names(source) == tuple(NAMES)
        np.testing.assert_array_equal(read_all(source)["image"], expected[rows])
        assert read_all(source)["label"].tolist() == label[rows]


class StoppedError(Exception):
    pass


def stop_after(monkeypatch, shards):
    """Makes the write end in the middle of the shard after `shards` whole ones."""
    written = array_record_set._write_shard

    def write(path, records):
        nonlocal shards
        if shards == 0:
            next(records)
            path.with_name(f"{path.name}.tmp").write_bytes(b"half")
            raise StoppedError
        shards -= 1
        written(path, records)

    monkeypatch.setattr(array_record_set, "_write_shard", write)


def test_a_write_that_was_stopped_goes_on(tmp_path, monkeypatch):
    path = write_files(tmp_path / "photos", photos(25))
    expected, _ = prepare(path, data_dir=str(tmp_path / "undisturbed"), size=8, shard_size=5)
    options = {"data_dir": str(tmp_path), "size": 8, "shard_size": 5}
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(StoppedError):
            prepare(path, **options)
    scratch = tmp_path / "mine" / "incomplete.1.0.0"
    finished = {shard: shard.stat().st_ino for shard in scratch.glob("*-of-00005")}
    assert len(finished) == 2
    # The disk is full.
    (scratch / "mine-train.array_record-00002-of-00005.tmp").unlink()
    (scratch / "mine-train.array_record-00002-of-00005.tmp").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"incomplete.1.0.0' cannot be written \(No space left\): mend that, then"):
        prepare(path, **options)
    (scratch / "mine-train.array_record-00002-of-00005.tmp").unlink()
    made, lines = prepare(path, **options)
    assert lines == ["2 of the 5 shards of mine are finished already", f"mine is ready in {made}"]
    assert contents(made) == contents(expected)
    assert {(made / shard.name).stat().st_ino for shard in finished} == set(finished.values())
    assert prepare(path, **options)[1] == [f"mine is ready in {made}"]
    with pytest.raises(UserError, match="is there already, made from other images or with other options"):
        prepare(path, **{**options, "size": 9})


def test_changed_images_are_written_anew(tmp_path, monkeypatch):
    path = write_files(tmp_path / "photos", photos(15))
    options = {"data_dir": str(tmp_path), "size": 8, "shard_size": 5}
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(StoppedError):
            prepare(path, **options)
    time.sleep(0.01)
    (path / "zebra" / "002.jpeg").write_bytes(encode(np.zeros((9, 9, 3), np.uint8), "jpeg"))
    _, lines = prepare(path, **options)
    assert lines[0].startswith("the images or the options are others than before")
    assert pairs(tfds("mine", data_dir=str(tmp_path))) == pairs(folder(str(path), size=8))


def test_images_with_a_table_beside_them(tmp_path):
    path = write_files(tmp_path / "photos", photos(3))
    expected = pairs(folder(str(path), size=8))
    (path / "metadata.parquet").write_bytes(b"PAR1")
    _, lines = prepare(path, data_dir=str(tmp_path), size=8)
    assert "metadata.parquet (parquet: data.source=parquet reads it)" in lines[0]
    assert pairs(tfds("mine", data_dir=str(tmp_path))) == expected


def test_bad_input_is_one_sentence(tmp_path, capsys):
    path = write_files(tmp_path / "photos", photos(3))
    (path / "zebra" / "cut.png").write_bytes(photos(1)[f"{NAMES[0]}/000.png"][:60])
    sets = ["--data-dir", str(tmp_path)]
    for words, expected in (
        ([str(path), "--name", "mine"], "1 of the 4 images"),
        ([str(path), "--name", "my set"], "'my set' is no name of a TFDS set"),
        ([str(path), "--name", "mine", "--size", "0"], "size must be at least 1 pixel"),
        (
            [str(path), "--name", "mine", "--size", "8", "--format", "keep"],
            "format keep stores the files as they are",
        ),
        ([str(path), "--name", "mine", "--shard-size", "0"], "a shard must have at least 1 image"),
        ([str(path), "--size", "8"], "--size is for your own images: pass --name NAME as well"),
        ([str(path)], "pass --name NAME"),
        ([str(tmp_path / "nowhere"), "--name", "mine"], "there is no folder"),
    ):
        assert cli.main(["prepare", *words, *sets]) == 2
        message = capsys.readouterr().err
        assert expected in message
        assert message.count("\n") == 1
    assert not (tmp_path / "mine").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_write_goes_on_and_gives_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "photos"
    for number in range(40):
        write_files(path, {f"{number % 2}/{number}.png": encode(rng.integers(0, 256, (300, 200, 3), np.uint8))})
    command = [
        sys.executable, "-m", "gan_jax", "prepare", str(path), "--name", "mine", "--size", "256x192",
        "--shard-size", "5", "--data-dir",
    ]  # fmt: skip
    environment = {**os.environ, "GAN_JAX_CACHE": str(tmp_path / "cache")}
    subprocess.run([*command, str(tmp_path / "undisturbed")], check=True, env=environment)
    for kill_at in (1, 4, 6):
        process = subprocess.Popen([*command, str(tmp_path)], env=environment)
        scratch = tmp_path / "mine" / "incomplete.1.0.0"
        while process.poll() is None and len(list(scratch.glob("*-of-00008"))) < kill_at:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    finished = {shard.name: shard.stat().st_ino for shard in scratch.glob("*-of-00008")}
    assert 6 <= len(finished) < 8
    subprocess.run([*command, str(tmp_path)], check=True, env=environment)
    made = tmp_path / "mine" / "1.0.0"
    assert contents(made) == contents(tmp_path / "undisturbed" / "mine" / "1.0.0")
    assert {name: (made / name).stat().st_ino for name in finished} == finished
