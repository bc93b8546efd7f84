"""What people bring, and what was once read wrongly without a word."""

import contextlib
import io
import json
import os
import sqlite3
import zipfile

import numpy as np
import pytest
from PIL import Image

from gan_jax.data import Mirrored, decoded, facts, read_all, read_images
from gan_jax.data.folder import folder
from gan_jax.data.image_set import natural
from gan_jax.data.npz import npz
from gan_jax.data.source import as_known, class_names, hash_parts, notes
from gan_jax.errors import UserError

RNG = np.random.default_rng(4)


def noise(height=20, width=20):
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), np.uint8))


def write(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def numbered(root, names):
    """Writes a folder for each name, with images whose grey level is that of its place in `names`."""
    for tone, name in enumerate(names):
        for i in range(2):
            write(root / name / f"{i}.png", np.full((8, 8), 10 * tone, np.uint8))
    return str(root)


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


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(facts, "_SETTLED", 0.0)
    return tmp_path / "cache"


def test_files_are_read_once(home, tmp_path, monkeypatch):
    numbered(tmp_path / "set", ["a", "b"])
    write(tmp_path / "set" / "b" / "c.png", noise())
    first = folder(str(tmp_path / "set"), size=8)
    rows = read_all(first)
    os.rename(tmp_path / "set", tmp_path / "moved")
    read = []
    monkeypatch.setattr(
        "gan_jax.data.containers.FolderContainer.read", lambda self, name: read.append(name) or b""
    )
    again = folder(str(tmp_path / "moved"), size=8)
    assert again.fingerprint() == first.fingerprint()
    assert not read
    assert (read_all(again)["image"] == rows["image"]).all()
    monkeypatch.undo()
    monkeypatch.setenv("GAN_JAX_CACHE", "off")
    assert (read_all(folder(str(tmp_path / "moved"), size=8))["image"] == rows["image"]).all()


def test_a_file_that_is_new_or_changed_is_read_again(home, tmp_path):
    numbered(tmp_path, ["a", "b"])
    before = folder(str(tmp_path)).fingerprint()
    write(tmp_path / "b" / "9.png", np.full((8, 8), 77, np.uint8))
    assert read_all(folder(str(tmp_path)))["image"][-1, 0, 0, 0] == 77
    (tmp_path / "b" / "9.png").unlink()
    assert folder(str(tmp_path)).fingerprint() == before
    write(tmp_path / "b" / "1.png", np.full((8, 8), 78, np.uint8))
    assert read_all(folder(str(tmp_path)))["image"][-1, 0, 0, 0] == 78
    (home / "facts.sqlite").write_bytes(b"damaged" * 100)
    assert read_all(folder(str(tmp_path)))["image"][-1, 0, 0, 0] == 78
    for file in decoded.folder().iterdir():
        file.write_bytes(file.read_bytes()[:-10])
    assert read_all(folder(str(tmp_path)))["image"][-1, 0, 0, 0] == 78


def test_two_ways_to_decode_have_two_sets(home, tmp_path):
    write(tmp_path / "set" / "a.png", noise(20, 40))
    root = tmp_path / "set"
    ways = [{}, {"crop": "pad"}, {"crop": "stretch"}, {"filter": "box"}, {"range": (0, 100)}, {"mirror": True}]
    shown = [read_all(folder(str(root), size="8x8", **way))["image"].tobytes() for way in ways]
    assert len(set(shown)) == 6
    again = read_all(folder(str(root), size="8x8", crop="pad"))["image"].tobytes()
    assert again == shown[1]
    assert folder(str(root), size=8, check="header").notes() == []
    write(root / "b.png", noise(20, 40))
    header = folder(str(root), size=8, check="header")
    assert header.fingerprint() == folder(str(root), size=8).fingerprint()
    assert (read_all(header)["image"] == read_all(folder(str(root), size=8))["image"]).all()


def test_a_file_that_changes_while_it_is_read(home, tmp_path, monkeypatch):
    """Between the two passes (facts are known, pixels are not), and during the first."""
    from gan_jax.data import containers

    write(tmp_path / "a.png", np.full((8, 8), 10, np.uint8))
    first = folder(str(tmp_path), size=4).fingerprint()
    good, other = (tmp_path / "a.png").read_bytes(), io.BytesIO()
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(other, "PNG")
    with monkeypatch.context() as patch:
        patch.setattr(containers.FolderContainer, "read", lambda self, name: other.getvalue())
        with pytest.raises(UserError, match=r"a.png' has changed since it was read: start again"):
            folder(str(tmp_path), size=2)
    assert read_all(folder(str(tmp_path), size=2))["image"].max() == 10

    def late(self, name):
        content = good
        (tmp_path / "b.png").write_bytes(other.getvalue())  # after it was read
        return content

    (tmp_path / "a.png").rename(tmp_path / "b.png")
    os.utime(tmp_path / "b.png")  # another stamp, so that it is read again
    with monkeypatch.context() as patch:
        patch.setattr(containers.FolderContainer, "read", late)
        folder(str(tmp_path), size=4)
    assert folder(str(tmp_path), size=4).fingerprint() != first


def test_errors_that_pass_are_forgotten(home, tmp_path, monkeypatch):
    from gan_jax.data import containers

    write(tmp_path / "a.png", noise())

    def fails(self, name):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(containers.FolderContainer, "read", fails)
        with pytest.raises(UserError, match="Too many open files"):
            folder(str(tmp_path))
    assert len(folder(str(tmp_path))) == 1


def test_a_file_of_this_very_moment_is_not_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "set" / "a.png", noise())
    folder(str(tmp_path / "set"))
    assert facts.Memory("").recall([]) == {}
    with contextlib.closing(sqlite3.connect(facts.database())) as database:
        [row] = database.execute("SELECT count(*) FROM facts").fetchone()
    assert row == 0
    monkeypatch.setattr(facts, "_SETTLED", -60.0)
    folder(str(tmp_path / "set"))
    with contextlib.closing(sqlite3.connect(facts.database())) as database:
        [row] = database.execute("SELECT count(*) FROM facts").fetchone()
    assert row == 1


def test_a_link_to_a_file_is_no_change(tmp_path):
    write(tmp_path / "set" / "a.png", noise())
    source = folder(str(tmp_path / "set"), check="header")
    os.link(tmp_path / "set" / "a.png", tmp_path / "backup.png")
    assert len(read_all(source)["image"]) == 1


def test_a_transparent_colour_and_a_range(tmp_path):
    grey = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    grey.save(tmp_path / "a.png", transparency=1)
    assert read_all(folder(str(tmp_path), range=(0, 2)))["image"].ravel().tolist() == [0, 255, 255]


def test_sets_over_the_limit_are_decoded_when_they_are_used(home, tmp_path, monkeypatch):
    monkeypatch.setattr(decoded, "LIMIT_BYTES", 400)
    monkeypatch.setattr(read_images, "available_memory_bytes", lambda: 0)
    numbered(tmp_path / "one", ["a"])  # 2 images of 64 bytes
    numbered(tmp_path / "two", ["a", "b", "c"])
    whole, streamed = folder(str(tmp_path / "one")), folder(str(tmp_path / "two"))
    assert len(list(decoded.folder().iterdir())) == 1
    assert any("no room for the decoded images" in note for note in notes(streamed))
    assert read_all(whole)["image"].shape == (2, 8, 8, 1)
    assert read_all(streamed)["image"][:, 0, 0, 0].tolist() == [0, 0, 10, 10, 20, 20]
    (decoded.folder() / "of_another.tmp").write_bytes(bytes(9000))  # another process decodes now
    numbered(tmp_path / "three", ["x", "b"])
    monkeypatch.setattr(decoded, "LIMIT_BYTES", 800)
    assert not any("no room" in note for note in notes(folder(str(tmp_path / "three"))))
    numbered(tmp_path / "four", ["x", "b", "c", "d"])
    folder(str(tmp_path / "four"))
    assert sum(file.stat().st_size for file in decoded.folder().glob("*.npy")) <= 800


def test_reduced_decoding_is_close(tmp_path):
    y, x = np.mgrid[:512, :768]
    smooth = np.stack([x / 3, y / 2, (x + y) / 5], -1).astype(np.uint8)
    write(tmp_path / "a.jpg", smooth, quality=95)
    whole, reduced = (read_all(folder(str(tmp_path), size=32, reduced=r))["image"][0] for r in (False, True))
    assert abs(whole.astype(int) - reduced).max() <= 3
    assert (whole != reduced).any()
    with pytest.raises(UserError, match="pass size as well"):
        folder(str(tmp_path), reduced=True)
