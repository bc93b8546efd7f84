"""Files of a folder: the old content or the new one, and nothing through a link."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from devices import ROOT
from gan_jax.files.folder import Folder, write_atomically

NAME = "samples/step.png"


@pytest.fixture
def outside(tmp_path):
    """A folder with a file, which must not change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "mine").write_bytes(b"mine")
    yield folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"mine": b"mine"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run" / "samples").mkdir(parents=True)
    return Folder(tmp_path / "run")


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_replaced_and_nothing_else_stays(tmp_path, sync):
    path = tmp_path / "new" / "a.bin"
    for data in (b"first", b"", b"second"):
        write_atomically(path, data, sync=sync)
        assert path.read_bytes() == data
        assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space") as error:
        write_atomically(path, b"new")
    assert error.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions(tmp_path):
    write_atomically(tmp_path / "private", b"", mode=0o600)
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600
    (tmp_path / "plain").touch()
    write_atomically(tmp_path / "public", b"")
    assert (tmp_path / "public").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_is_read_and_appended_to_at_any_depth(folder):
    with folder.append("a/b/c") as file:
        file.write(b"1")
    with folder.append("a/b/c") as file:
        file.write(b"2")
    assert folder.read("a/b/c") == b"12"
    assert folder.kind("a/b") == "a folder"
    assert folder.kind("a/b/c/d") is None
    folder.remove("a/b/c")
    folder.remove("a/b/c")
    assert folder.kind("a/b/c") is None
    with pytest.raises(FileNotFoundError, match="a/b/c"):
        folder.read("a/b/c")


ACTIONS = {
    "read": lambda folder: folder.read(NAME),
    "append": lambda folder: folder.append(NAME).close(),
    "write": lambda folder: folder.write(NAME, b"new"),
    "remove": lambda folder: folder.remove(NAME),
    "names": lambda folder: folder.names("samples/*"),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_link_to_a_folder_is_not_followed(action, folder, outside):
    (folder.path / "samples").rmdir()
    (folder.path / "samples").symlink_to(outside)
    (outside / "step.png").symlink_to("nothing")
    with pytest.raises(OSError, match="it is a link, not a folder") as error:
        ACTIONS[action](folder)
    assert Path(error.value.filename) == folder.path / "samples"
    (outside / "step.png").unlink()


@pytest.mark.parametrize("target", ["mine", "new"])
def test_a_link_to_a_file_is_not_followed(target, folder, outside):
    link = folder.path / NAME
    link.symlink_to(outside / target)
    for action in ("read", "append"):
        with pytest.raises(OSError, match="it is a link, not a file") as error:
            ACTIONS[action](folder)
        assert Path(error.value.filename) == link
    assert folder.names("samples/*") == []
    folder.write(NAME, b"new")  # it replaces the link
    assert folder.kind(NAME) == "a file"
    link.unlink()
    link.symlink_to(outside / target)
    folder.remove(NAME)
    assert folder.kind(NAME) is None


def test_a_hard_link_gets_content_of_its_own_before_it_is_appended_to(folder, outside):
    os.link(outside / "mine", folder.path / NAME)
    with folder.append(NAME) as file:
        file.write(b" and yours")
    assert folder.read(NAME) == b"mine and yours"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a folder"])
def test_what_is_no_file_is_not_opened(kind, folder, monkeypatch):
    monkeypatch.chdir(folder.path / "samples")  # the name of a socket must be short
    if kind == "a pipe":
        os.mkfifo("step.png")
    elif kind == "a folder":
        Path("step.png").mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind("step.png")
    assert folder.kind(NAME) == kind
    for action in ("read", "append"):
        with pytest.raises(OSError, match=f"it is {kind}, not a file"):
            ACTIONS[action](folder)


def test_the_folder_itself_may_be_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder.path)
    Folder(tmp_path / "link").write(NAME, b"new")
    assert folder.read(NAME) == b"new"


def test_a_large_file_is_not_read(folder):
    folder.write(NAME, b"12345")
    assert folder.read(NAME, most=5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes, and at most 4 are read"):
        folder.read(NAME, most=4)


def test_names_and_temporaries(folder):
    for name in ("step_2.png", "step_10.png", "step_10.png.0123456789abcdef.tmp", "mine.tmp"):
        folder.write(f"samples/{name}", b"")
    (folder.path / "samples" / "step_3.png").mkdir()
    assert folder.names("samples/step_*.png") == ["samples/step_10.png", "samples/step_2.png"]
    folder.remove_temporaries("samples")
    assert folder.names("samples/*.tmp") == ["samples/mine.tmp"]
    shutil.rmtree(folder.path)
    assert folder.names("samples/*") == []


@pytest.mark.parametrize("name", ["report", "r"])
def test_an_error_has_the_whole_path_where_names_are_alike(name, tmp_path, monkeypatch):
    """The folder is `report`, and the temporary file is `report.html.<random>.tmp`."""
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()

    def full(*_, **__):
        raise OSError(28, "No space left on device", "report.html.0123456789abcdef.tmp")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space") as error:
        Folder(name).write("report.html", b"")
    assert error.value.filename == f"{name}/report.html"


def test_a_temporary_file_that_another_process_removes(folder, monkeypatch):
    """A run that begins removes those of killed processes, and takes this one for such."""
    replace, calls = os.replace, []

    def remove_once(source, target, **handles):
        if not calls:
            folder.remove_temporaries("samples")
        calls.append(source)
        replace(source, target, **handles)

    monkeypatch.setattr(os, "replace", remove_once)
    folder.write(NAME, b"new")
    assert folder.read(NAME) == b"new"
    assert len(calls) == 2


LIMITED = """
import resource, sys
from pathlib import Path
from gan_jax.files import json_lines
from gan_jax.files.folder import Folder
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
folder = Folder(Path(sys.argv[1]))
try:
    for step in range(20):
        json_lines.append(folder, "rows", {"step": step})
except OSError as error:
    print(error.strerror)
"""


def test_a_disk_that_is_full_in_the_middle_of_a_row_is_an_error(tmp_path):
    words = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "File too large\n"
