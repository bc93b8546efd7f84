"""What is remembered of image files from run to run: their facts, and their decoded pixels."""

import contextlib
import io
import os
import sqlite3

import numpy as np
import pytest
from PIL import Image

from gan_jax.data import containers, decoded, facts, read_all, read_images
from gan_jax.data.folder import folder
from gan_jax.data.source import notes
from gan_jax.errors import UserError
from image_folders import noise, numbered, write


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
    assert facts.Memory("", facts.Facts).recall([]) == {}
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
