"""Latents and directions that a workdir keeps by name."""

import io
import os
import zipfile

import numpy as np
import pytest

from gan_jax.errors import UserError
from gan_jax.latent_space import kept
from gan_jax.latent_space.directions import Directions
from gan_jax.latent_space.kept import KeptLatents

LATENTS = KeptLatents(
    np.arange(12, dtype=np.float32).reshape(2, 3, 2), "w+", 40, np.array([1, 0], np.int32), 3,
    tuple(np.full((2, 4, 4), i, np.float32) for i in range(11)),
)  # fmt: skip
DIRECTIONS = Directions("sefa", "z", ("a", "b"), np.eye(2, 5, dtype=np.float32), np.ones(2, np.float32))


def test_what_is_kept_comes_back(tmp_path):
    path = kept.keep_latents(tmp_path, "one", LATENTS)
    assert path == tmp_path / "latents" / "one.npz"
    back = kept.read_latents(tmp_path, "one")
    assert (back.space, back.step, back.noise_seed) == ("w+", 40, 3)
    np.testing.assert_array_equal(back.latents, LATENTS.latents)
    np.testing.assert_array_equal(back.labels, LATENTS.labels)
    np.testing.assert_array_equal(back.noise, LATENTS.noise)  # in order, also map_10
    bare = KeptLatents(np.ones((1, 4), np.float32), "z", 0)
    kept.keep_latents(tmp_path, "two", bare)
    assert kept.read_latents(tmp_path, "two").labels is None
    assert kept.latent_names(tmp_path) == ["one", "two"]

    kept.keep_directions(tmp_path, "one", DIRECTIONS)
    back = kept.read_directions(tmp_path, "one")
    assert (back.method, back.space, back.names) == ("sefa", "z", ("a", "b"))
    np.testing.assert_array_equal(back.vectors, DIRECTIONS.vectors)
    assert kept.direction_names(tmp_path) == ["one"]


def test_a_name_is_not_taken_twice_by_accident(tmp_path):
    kept.keep_latents(tmp_path, "one", LATENTS)
    with pytest.raises(
        UserError, match="keeps latents under the name one already: choose another, or add --replace"
    ):
        kept.keep_latents(tmp_path, "one", LATENTS._replace(step=41))
    assert kept.read_latents(tmp_path, "one").step == 40
    kept.keep_latents(tmp_path, "one", LATENTS._replace(step=41), replace=True)
    assert kept.read_latents(tmp_path, "one").step == 41


def test_unknown_names(tmp_path):
    with pytest.raises(
        UserError, match=r"keeps no latents under the name x: it keeps none \(gan-jax project does\)"
    ):
        kept.read_latents(tmp_path, "x")
    kept.keep_latents(tmp_path, "portrait", LATENTS)
    with pytest.raises(UserError, match="portrait"):
        kept.read_latents(tmp_path, "portait")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "/etc/passwd", ".hidden", "a\nb", "x" * 200, "a\\b", "a\0"])
def test_names_stay_in_the_folder(name, tmp_path):
    for use in (kept.read_latents, kept.read_directions):
        with pytest.raises(UserError, match="is no name to keep latents under"):
            use(tmp_path, name)
    with pytest.raises(UserError, match="is no name to keep latents under"):
        kept.keep_latents(tmp_path, name, LATENTS)
    assert not list(tmp_path.iterdir())


def _npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _whole():
    return {
        "latents": np.ones((2, 3), np.float32), "space": np.array("z"), "step": np.array(1),
        "noise_seed": np.array(0),
    }  # fmt: skip


def _huge_header():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**6)}
        )
        archive.writestr("latents.npy", header.getvalue() + b"\0" * 100)
    return content.getvalue()


_NO_TEXT = np.frombuffer(np.full(1, 2**31 - 1, np.uint32).tobytes(), "<U1")

HOSTILE = {
    "text that is none": _npz(**{**_whole(), "space": _NO_TEXT.reshape(()), "names": _NO_TEXT}),
    "empty": b"",
    "no zip": b"PK\x03\x04 nothing",
    "truncated": _npz(**_whole())[:-40],
    "pickle": _npz(**{**_whole(), "space": np.array({"a": 1}, object)}),
    "shapes that lie": _huge_header(),
    "NaN": _npz(**{**_whole(), "latents": np.full((2, 3), np.nan, np.float32)}),
    "float64": _npz(**{**_whole(), "latents": np.ones((2, 3))}),
    "another rank": _npz(**{**_whole(), "latents": np.ones(3, np.float32)}),
    "no rows": _npz(**{**_whole(), "latents": np.ones((0, 3), np.float32)}),
    "another space": _npz(**{**_whole(), "space": np.array("v")}),
    "labels": _npz(**_whole(), labels=np.zeros(3, np.int32)),
    "no step": _npz(latents=np.ones((2, 3), np.float32), space=np.array("z")),
    "step": _npz(**{**_whole(), "step": np.array(-1)}),
    "maps": _npz(**_whole(), map_0=np.zeros((1, 4, 4), np.float32)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_strange_file_is_one_sentence(kind, tmp_path):
    for folder, use in (("latents", kept.read_latents), ("directions", kept.read_directions)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.npz").write_bytes(HOSTILE[kind])
        with pytest.raises(UserError, match=r"x\.npz .*remove it, or restore it") as raised:
            use(tmp_path, "x")
        assert "\n" not in str(raised.value)


def test_links_are_not_followed(tmp_path):
    outside, workdir = tmp_path / "outside", tmp_path / "run"
    kept.keep_latents(outside, "x", LATENTS)
    (workdir / "latents").mkdir(parents=True)
    os.symlink(outside / "latents" / "x.npz", workdir / "latents" / "x.npz")
    with pytest.raises(UserError, match="it is a link, not a file"):
        kept.read_latents(workdir, "x")
    assert kept.latent_names(workdir) == []


@pytest.mark.parametrize("text", ["a b", "..", "", "-x", "é" * 300, "\u732b" * 100, "a/../b", "\udcff"])
def test_any_text_gives_a_name(text, tmp_path):
    """A file of any name is projected, and its latents can be kept."""
    name = kept.name_like(text)
    assert kept.check_name(name) == name
    assert kept.keep_latents(tmp_path, name, LATENTS).is_file()


def test_a_name_that_no_file_system_takes(tmp_path):
    with pytest.raises(UserError, match="at most 200 bytes"):
        kept.check_name("\u732b" * 90)
