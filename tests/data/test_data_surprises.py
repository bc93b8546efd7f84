"""What people bring, and what was once read wrongly without a word."""

import io
import json
import zipfile

import numpy as np
import pytest

from gan_jax.data import Mirrored, read_all
from gan_jax.data.folder import folder
from gan_jax.data.image_set import natural
from gan_jax.data.npz import npz
from gan_jax.data.source import as_known, class_names, hash_parts, notes
from gan_jax.errors import UserError
from image_folders import RNG, noise, numbered, write


@pytest.mark.parametrize(
    "names", [[str(c) for c in range(12)], ["v1.9", "v1.10", "v2.0"], ["img 2", "Img 10", "img 11"]]
)
def test_classes_have_the_natural_order(names, tmp_path):
    source = folder(numbered(tmp_path, names))
    rows = read_all(source)
    assert class_names(source) == tuple(names)
    assert (rows["image"][:, 0, 0, 0] == 10 * rows["label"]).all()
    mirrored = Mirrored(source)
    assert class_names(mirrored) == tuple(names)


def test_the_natural_order_of_any_number():
    words = ["0", "00", "01", "1", "2", "a", "a2b", "a10", "a" + "9" * 4999, "a1" + "0" * 4999, "b¹", "b٣"]
    assert sorted(reversed(words), key=natural) == words


def test_a_run_of_before_keeps_its_labels(tmp_path):
    """The fingerprints and labels are those that commit 21a523d printed for these files."""
    for tone in range(12):
        for i in range(2):
            (tmp_path / str(tone)).mkdir(exist_ok=True)
            (tmp_path / str(tone) / f"{i}.pgm").write_bytes(b"P5 8 8 255\n" + bytes([10 * tone]) * 64)
    path, before = str(tmp_path), "folder n=24 8x8x1 unresized #ae9c08441dfe"
    source, fingerprint = as_known(folder(path), before)
    assert fingerprint == before
    assert class_names(source) == tuple(sorted(map(str, range(12))))  # 0, 1, 10, 11, 2, ...
    rows = read_all(source)
    assert [int(class_names(source)[label]) for label in rows["label"]] == (
        rows["image"][:, 0, 0, 0] / 10
    ).tolist()
    _, fingerprint = as_known(folder(path, size=4), "folder n=24 4x4x1 crop=center filter=lanczos #ae9c08441dfe")
    assert "#ae9c08441dfe" in fingerprint
    doubled, fingerprint = as_known(folder(path, mirror=True), f"{before} mirrored")
    assert fingerprint == f"{before} mirrored"
    assert class_names(doubled)[2] == "10"
    new, fingerprint = as_known(folder(path), "another")
    assert class_names(new)[2] == "2"
    assert fingerprint == new.fingerprint()


def test_a_run_of_before_keeps_the_labels_of_its_npz(tmp_path):
    """As commit 21a523d read this file."""
    image = (np.arange(256) % 251).astype(np.uint8).reshape(4, 8, 8)
    np.savez(tmp_path / "a.npz", image=image, label=[1, 3, 1, 2])
    source, fingerprint = as_known(npz(str(tmp_path / "a.npz")), "npz n=4 8x8x1 #9d263c5453bb")
    assert fingerprint == source.fingerprint() == "npz n=4 8x8x1 #9d263c5453bb"
    assert source.classes == 4
    assert read_all(source)["label"].tolist() == [1, 3, 1, 2]


def test_splits_are_read_apart(tmp_path):
    for i, split in enumerate(["Training", "val", "test"]):
        for j, name in enumerate(["cat", "dog"]):
            write(tmp_path / split / name / "a.png", np.full((8, 8), 100 * i + 10 * j, np.uint8))
    source = folder(str(tmp_path))
    assert class_names(source) == ("cat", "dog")
    assert read_all(source)["image"][:, 0, 0, 0].tolist() == [0, 10]
    assert "test, Training, val" in notes(source)[0]
    assert "this is Training" in notes(source)[0]
    assert read_all(folder(str(tmp_path), split="test"))["image"][:, 0, 0, 0].tolist() == [200, 210]
    everything = read_all(folder(str(tmp_path), split="all"))
    assert everything["label"].tolist() == [0, 1] * 3
    assert class_names(folder(str(tmp_path), split="")) == ("test", "Training", "val")
    with pytest.raises(UserError, match="no split 'dev': its folders are test, Training, val"):
        folder(str(tmp_path), split="dev")
    (tmp_path / "LICENSE").write_text("as you like")
    assert class_names(folder(str(tmp_path))) == ("cat", "dog")
    (tmp_path / "test").rename(tmp_path / "test2017")
    assert class_names(folder(str(tmp_path))) == ("cat", "dog")
    write(tmp_path / "unlabeled" / "a.png", noise(8, 8))
    with pytest.raises(UserError, match=r"the splits test2017, Training, val beside other folders \(unlabeled\)"):
        folder(str(tmp_path))
    assert len(folder(str(tmp_path), split="all")) == 6
    assert class_names(folder(str(tmp_path), split="")) == ("test2017", "Training", "unlabeled", "val")


def test_splits_below_one_folder(tmp_path):
    for split, tone in (("train", 10), ("test", 20)):
        write(tmp_path / "flat" / "images" / split / "a.png", np.full((8, 8), tone, np.uint8))
        for name in ("cat", "dog"):
            write(tmp_path / "deep" / "all" / "photos" / split / name / "a.png", np.full((8, 8), tone, np.uint8))
    flat, deep = folder(str(tmp_path / "flat")), folder(str(tmp_path / "deep"))
    assert (class_names(flat), class_names(deep)) == (None, ("cat", "dog"))
    assert read_all(flat)["image"].max() == read_all(deep)["image"].max() == 10
    assert read_all(folder(str(tmp_path / "deep"), split="test"))["image"].min() == 20
    assert read_all(folder(str(tmp_path / "deep"), split="all"))["label"].tolist() == [0, 1, 0, 1]
    assert class_names(folder(str(tmp_path / "flat"), split="")) == ("test", "train")


def test_a_folder_that_alone_holds_folders_is_no_class(tmp_path):
    numbered(tmp_path / "photos" / "all", ["b", "a"])
    assert class_names(folder(str(tmp_path))) == ("a", "b")


def nvidia(root, labels):
    for name, _ in labels:
        write(root / name, noise())
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))


def zipped(root, file, below=""):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                archive.write(path, f"{below}{path.relative_to(root).as_posix()}")
        archive.writestr("__MACOSX/._a.png", b"no image")
    return str(file)


def test_dataset_json_and_zip_files(tmp_path):
    pairs = [["00000/a.png", 5], ["00000/b.png", 2], ["00001/c.png", 5]]
    nvidia(tmp_path / "set", pairs)
    source = folder(str(tmp_path / "set"))
    assert read_all(source)["label"].tolist() == [1, 0, 1]
    assert class_names(source) == ("2", "5")
    assert "2 different numbers from 2 to 5" in notes(source)[0]
    for below in ("", "set/"):
        archive = folder(zipped(tmp_path / "set", tmp_path / "set.zip", below))
        assert archive.fingerprint() == source.fingerprint()
        assert (read_all(archive)["image"] == read_all(source)["image"]).all()
    streamed = folder(str(tmp_path / "set.zip"), check="header")
    assert (read_all(streamed)["image"] == read_all(source)["image"]).all()
    for text, message in [
        ('{"labels": null}', None), ('{"labels": [["00000/a.png", 1]]}', "no label for 2 of the 3 images"),
        ('{"labels": [["00000/a.png", [1, 0]], ["00000/b.png", [1]], ["00001/c.png", 1]]}', "no integers"),
        ('{"labels": 3}', "cannot be read"), ("{", "cannot be read"),
        ('{"labels": [[1, 2, 3]]}', "cannot be read"),
    ]:  # fmt: skip
        (tmp_path / "set" / "dataset.json").write_text(text)
        if message is None:
            assert class_names(folder(str(tmp_path / "set"))) is None
        else:
            with pytest.raises(UserError, match=message):
                folder(str(tmp_path / "set"))
            assert folder(str(tmp_path / "set"), labels=False).classes is None


def test_content_tells_what_is_an_image(tmp_path):
    jpeg, webp = io.BytesIO(), io.BytesIO()
    noise().save(jpeg, "JPEG")
    noise().save(webp, "WEBP")
    for name in ("a.jpg", "b.JPEG", "c.jfif", "d.jpe", "no_ending", "photo.image", "e.png.part"):
        (tmp_path / name).write_bytes(jpeg.getvalue())
    (tmp_path / "2024.05.01").write_bytes(webp.getvalue())
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "BMW list.txt").write_text("BMW\nPorsche")  # begins as a bitmap does
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    source = folder(str(tmp_path))
    assert source.names == ["2024.05.01", "a.jpg", "b.JPEG", "c.jfif", "d.jpe", "no_ending", "photo.image"]
    [note] = notes(source)
    assert note.startswith("note: 4 files are not read as images")
    for words in ("e.png.part (an unfinished", "notes.txt", "BMW list.txt", "x.heic (HEIC: convert it"):
        assert words in note
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(UserError, match=r"no images under .* 1 other files are there, such as x.heic \(HEIC"):
        folder(str(tmp_path / "h"))


def test_avif_where_pillow_has_it(tmp_path):
    plugin = pytest.importorskip("PIL.AvifImagePlugin", reason="this Pillow has no AVIF")
    if not plugin.SUPPORTED:
        pytest.skip("this build of Pillow has no AVIF")
    write(tmp_path / "a.avif", np.full((8, 8, 3), 90, np.uint8))
    assert abs(read_all(folder(str(tmp_path)))["image"].astype(int) - 90).max() <= 3


def test_ranges(tmp_path):
    ramp = np.arange(0, 4096, 64).reshape(8, 8)
    write(tmp_path / "deep" / "a.png", ramp.astype(np.uint16))
    [note] = notes(folder(str(tmp_path / "deep")))
    assert "values 0 to 4032 of 0 to 65535" in note
    assert "data.source.range=0,4032" in note
    scaled = folder(str(tmp_path / "deep"), range=(0, 4032))
    assert notes(scaled) == []
    assert (read_all(scaled)["image"][0, ..., 0] == np.rint(ramp * (255 / 4032))).all()
    mask = np.zeros((8, 8, 4), np.uint8)
    mask[2:, 3:, :3], mask[..., 3] = 1, 255
    write(tmp_path / "mask" / "a.png", mask)
    assert "values 0 to 1 of 0 to 255" in notes(folder(str(tmp_path / "mask")))[0]
    assert set(read_all(folder(str(tmp_path / "mask"), range=(0, 1)))["image"].ravel().tolist()) == {0, 255}
    heights = np.linspace(-3, 5, 64, dtype=np.float32).reshape(8, 8)
    write(tmp_path / "float" / "a.tif", heights)
    with pytest.raises(UserError, match=r"floats, which have no standard range: it has -3 to 5"):
        folder(str(tmp_path / "float"))
    assert read_all(folder(str(tmp_path / "float"), range=(-3, 5)))["image"].ravel()[[0, -1]].tolist() == [0, 255]
    np.savez(tmp_path / "f.npz", image=np.stack([heights, -heights]))
    with pytest.raises(UserError, match=r"range=LOW,HIGH.*it has -5 to 5"):
        npz(str(tmp_path / "f.npz"))
    floats = npz(str(tmp_path / "f.npz"), range=(-5, 5))
    assert floats.dtype == np.uint8
    assert floats.shape == (8, 8, 1)
    assert (read_all(floats)["image"][0, ..., 0] == np.rint((heights.astype(float) + 5) * 25.5)).all()
    np.savez(tmp_path / "dark.npz", image=np.full((2, 8, 8), 7, np.uint8) * np.eye(8, dtype=np.uint8))
    assert "values 0 to 7" in notes(npz(str(tmp_path / "dark.npz")))[0]
    with pytest.raises(UserError, match="range must be the values"):
        npz(str(tmp_path / "f.npz"), range=(1, 1))


@pytest.mark.parametrize("label", [[1, 3, 1, 2], [7, 1_000_000, 7, 7], [-1, 0, 1, 1]])
def test_labels_are_mapped_and_named(label, tmp_path):
    image = RNG.integers(0, 256, (4, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", image=image, label=label)
    source = npz(str(tmp_path / "a.npz"))
    values = sorted(set(label))
    assert source.classes == len(values)
    assert [int(class_names(source)[number]) for number in read_all(source)["label"]] == label
    assert "different numbers" in notes(source)[0]
    if min(label) >= 0:
        raw = {"label": np.array(label, np.int32)}
        _, old = source.before()
        again, fingerprint = as_known(npz(str(tmp_path / "a.npz")), old)
        assert fingerprint == old
        assert (read_all(again)["label"] == raw["label"]).all()
        assert again.classes == max(label) + 1


def test_npz_with_names(tmp_path):
    image = RNG.integers(0, 256, (4, 8, 8), np.uint8)
    names = ["circle", "square", "star"]
    np.savez(tmp_path / "a.npz", image=image, label=[2, 0, 2, 0], names=names)
    source = npz(str(tmp_path / "a.npz"))
    assert class_names(source) == tuple(names)
    assert source.classes == 3
    assert read_all(source)["label"].tolist() == [2, 0, 2, 0]
    np.savez(tmp_path / "b.npz", image=image, label=[2, 0, 2, 3], names=names)
    with pytest.raises(UserError, match="must hold a text for each of the 4 classes"):
        npz(str(tmp_path / "b.npz"))


def test_npz_names_that_are_not_those_of_the_classes(tmp_path):
    image, file = RNG.integers(0, 256, (6, 8, 8), np.uint8), tmp_path / "a.npz"
    np.savez(file, image=image, label=[0, 1, 2, 0, 1, 2], names=[f"{i}.png" for i in range(6)])
    source = npz(str(file))
    assert (source.classes, class_names(source)) == (3, ("0", "1", "2"))
    assert "one element for each of the 6 samples" in notes(source)[0]
    assert source.before() is None
    np.savez(file, image=image, label=[-1, 0, 1, 2, 0, 1], names=["a", "b", "c"])
    with pytest.raises(UserError, match=r"go down to -1, but array 'names' of '.*' names the classes from 0 on"):
        npz(str(file))


def test_a_run_of_before_keeps_its_number_of_classes(tmp_path):
    """gan_jax 0.1 made the classes 0 to the largest label, and read no names."""
    image, label, file = RNG.integers(0, 256, (4, 8, 8), np.uint8), [2, 0, 2, 0], tmp_path / "a.npz"
    parts = [image.tobytes(), np.array(label, np.int32).tobytes()]
    before = f"npz n=4 8x8x1 #{hash_parts(parts)}"
    np.savez(file, image=image, label=label, names=["a", "b", "c", "d", "e"])
    source, fingerprint = as_known(npz(str(file)), None)
    assert (source.classes, fingerprint == before) == (5, False)
    source, fingerprint = as_known(npz(str(file)), before)
    assert (source.classes, fingerprint) == (3, before)
    np.savez(file, image=image, label=label, names=["a", "b", "c"])
    assert npz(str(file)).fingerprint() == before


@pytest.mark.parametrize(
    ("size", "crop", "lit"), [("8x4", "center", (8, 4)), ((4, 8), "pad", (4, 4)), ("8x16", "stretch", (8, 16))]
)
def test_sizes_that_are_not_square(size, crop, lit, tmp_path):
    write(tmp_path / "a.png", np.full((16, 16), 255, np.uint8))
    image = read_all(folder(str(tmp_path), size=size, crop=crop))["image"][0, ..., 0]
    height, width = (int(side) for side in (size.split("x") if isinstance(size, str) else size))
    assert image.shape == (height, width)
    assert (image == 255).sum() == lit[0] * lit[1]  # the rest is black padding


def test_reduced_decoding_is_close(tmp_path):
    y, x = np.mgrid[:512, :768]
    smooth = np.stack([x / 3, y / 2, (x + y) / 5], -1).astype(np.uint8)
    write(tmp_path / "a.jpg", smooth, quality=95)
    whole, reduced = (read_all(folder(str(tmp_path), size=32, reduced=r))["image"][0] for r in (False, True))
    assert abs(whole.astype(int) - reduced).max() <= 3
    assert (whole != reduced).any()
    with pytest.raises(UserError, match="pass size as well"):
        folder(str(tmp_path), reduced=True)
