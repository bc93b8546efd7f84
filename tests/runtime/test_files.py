"""Atomic writes: the old file or the new one, and nothing through a link."""

import os
import stat

import pytest

from gan_jax.runtime.files import write_atomically


@pytest.mark.parametrize("concurrent", [False, True])
@pytest.mark.parametrize("sync", [False, True])
def test_the_file_is_replaced_and_nothing_else_stays(tmp_path, sync, concurrent):
    path = tmp_path / "a.bin"
    for data in (b"first", b"", b"second"):
        write_atomically(path, data, sync=sync, concurrent=concurrent)
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_place_of_the_temporary_file_is_not_written_through(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    path = tmp_path / "run" / "a.json"
    path.parent.mkdir()
    path.with_name("a.json.tmp").symlink_to(outside)
    write_atomically(path, b"new")
    assert (path.read_bytes(), outside.read_text()) == (b"new", "mine")
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("old")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions(tmp_path):
    write_atomically(tmp_path / "private", b"", mode=0o600)
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600
    (tmp_path / "plain").touch()
    write_atomically(tmp_path / "public", b"")
    assert (tmp_path / "public").stat().st_mode == (tmp_path / "plain").stat().st_mode
