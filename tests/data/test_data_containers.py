"""Zip files that are cut short, and other files that hold no images."""

import zipfile

import numpy as np
import pytest

from gan_jax.data.containers import open_container
from gan_jax.errors import UserError


@pytest.mark.parametrize("name", ["photos.zip", "photos.backup"])
def test_a_zip_file_that_is_cut_short(tmp_path, name):
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", bytes(range(256)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=rf"{name}' is a zip file that is cut short or damaged: .* copy it again$"):
        open_container(path)


def test_files_that_are_no_zip_file(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match="is no folder and no zip file: name the folder"):
        open_container(tmp_path / "notes.txt")
    (tmp_path / "empty.zip").touch()
    with pytest.raises(UserError, match="cut short or damaged"):
        open_container(tmp_path / "empty.zip")
    np.savez(tmp_path / "arrays.npz", image=np.zeros(3))
    content = (tmp_path / "arrays.npz").read_bytes()
    (tmp_path / "arrays.npz").write_bytes(content[:-20])  # .npz files are zip files, and another source reads them
    with pytest.raises(UserError, match=r"is no folder and no zip file: data\.source=npz reads it"):
        open_container(tmp_path / "arrays.npz")
