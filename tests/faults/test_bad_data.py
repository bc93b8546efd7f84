"""Thousands of image folders and .npz files that cannot be used: the answer is one sentence and no traceback."""

import contextlib
import io
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from damaged_files import HEADERS, crafted, encoded, npy, saved, zipped
from gan_jax import config as configs
from gan_jax.config.build import make_source
from gan_jax.data import Loader, read_all
from gan_jax.train.validate import check_run
from refusals import FULL, refuses, texts

pytestmark = pytest.mark.timeout(300)


def read(config: Path, *items: str) -> None:
    """Does what training does with data."""
    changed = configs.override(configs.load(config), items)
    configs.validate(changed)
    source = make_source(changed)
    check_run(changed, source)
    with Loader(source, seed=0, batch=4, resident=False) as loader:
        next(loader)
    read_all(source)


OPTIONS = [
    "size=8", "size=1", "size=9000", "size=0", "crop=none", "filter=box", "channels=1", "channels=4", "channels=3",
    "mirror=true", "crop=left", "filter=\n", "size=x", "colour=1", "size=8x4", "size=4x", "size=0x9", "crop=pad",
    "crop=stretch", "range=0,1", "range=9,0", "range=nan,1", "range=3",
]  # fmt: skip
FOLDER_OPTIONS = ["split=", "split=all", "split=train", "split=a", "labels=false", "reduced=true", "reduced=3"]
options = st.lists(st.sampled_from(OPTIONS), max_size=2)


images = st.builds(
    encoded,
    st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"]),
    st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F"]),
    st.sampled_from([8, 8, 5, 1]),
    st.sampled_from([8, 8, 3]),
)


@st.composite
def spoilt(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    """The bytes of a file, damaged in one of several ways or unchanged."""
    whole = draw(contents)
    at = draw(st.integers(0, len(whole) - 1))
    how = draw(st.sampled_from(["whole", "cut", "cut", "changed", "noise", "zeros", "between", "text", "before"]))
    return {
        "whole": whole,
        "cut": whole[:at],
        "changed": whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :],
        "noise": bytes(np.random.default_rng(at).integers(0, 256, len(whole), np.uint8)),
        "zeros": whole[:at] + bytes(len(whole) - at),
        "between": whole[:at] + b"\xff\x00" + whole[at:],
        "text": b"no picture, no array\n",
        "before": b"\n" + whole,
    }[how]


suffixes = st.sampled_from(
    [
        ".png",
        ".jpg",
        ".JPEG",
        ".webp",
        ".bmp",
        ".tif",
        ".gif",
        ".ppm",
        ".txt",
        ".npz",
        "",
        ".jfif",
        ".heic",
        ".part",
    ]
)
places = st.sampled_from(["", "a/", "b/", "a/c/", "train/a/", "test/b/", "00000/", "10/", "9/"])
names = st.builds("{}{}{}".format, places, texts.map(
    lambda text: text.replace("/", "_").replace("\0", "_").encode(errors="ignore")[:40].decode(errors="ignore")
), suffixes)  # fmt: skip
contents = spoilt(images) | st.builds(crafted, st.sampled_from([0, 9, 9000, 100_000, 2**31 - 1])) | images
folders = st.tuples(
    st.dictionaries(names, contents, max_size=4),
    st.lists(st.sampled_from([*OPTIONS, *FOLDER_OPTIONS]), max_size=2),
    st.sampled_from(["all", "header"]),
    st.sampled_from(["folder", "folder", "zip", "spoilt zip"]),
    st.none() | st.sampled_from(["{", "[]", '{"labels": null}', '{"labels": 3}', '{"labels": [[1]]}', "each"]),
)


def json_of(kind: str, names: list[str]) -> str:
    """A dataset.json; "each": with a label for each file."""
    labels = [[name, at % 3 + 1] for at, name in enumerate(names)]
    return json.dumps({"labels": labels}) if kind == "each" else kind


def packed(held: dict[str, bytes], spoil: bool) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, body in held.items():
            archive.writestr(name or "nameless", body)
    whole = content.getvalue()
    return whole[: len(whole) // 2] + b"\xff" + whole[len(whole) // 2 + 1 :] if spoil else whole


@pytest.mark.parametrize("times", FULL)
def test_image_folders(times, config):
    def use(made: tuple[dict[str, bytes], list[str], str, str, str | None]) -> None:
        held, chosen, check, kind, labels = made
        if labels is not None:
            held = {**held, "dataset.json": json_of(labels, list(held)).encode()}
        with tempfile.TemporaryDirectory() as place:
            path = Path(place)
            if kind != "folder":
                path = path / "set.zip"
                path.write_bytes(packed(held, kind == "spoilt zip"))
            for name, content in held.items() if kind == "folder" else ():
                file = Path(place, name)
                with contextlib.suppress(OSError):  # the same name for a file and a folder
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)
            where = [f"data.source.path={path}", f"data.source.check={check}"]
            read(config, "data.source=folder", *where, *(f"data.source.{option}" for option in chosen))

    refuses("folder", times, folders, use)


DTYPES = ["u1", "i1", "f4", ">f4", "f8", "c8", "?", "U3", "S2", "M8[s]", "m8[s]", "O", "V3", "i8", "f2"]
SHAPES = [
    (), (0,), (3,), (3, 2), (3, 8, 8), (3, 8, 8, 1), (3, 8, 8, 3), (3, 8, 8, 2), (3, 1, 8, 8), (3, 0, 8),
    (0, 8, 8),
]  # fmt: skip
KEYS = ["image_key=x", "label_key=", "label_key=x", "image_key=\n", "image_key=label"]


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """An .npz file with any arrays, or with files that are no arrays."""
    keys = st.sampled_from(["image", "label", "names", "x", "a\nb", "image.npy", "deep/er"])
    if draw(st.booleans()):
        members = st.builds(npy, st.sampled_from(HEADERS), st.binary(max_size=9)) | st.binary(max_size=9)
        return zipped(draw(st.dictionaries(keys.map("{}.npy".format) | keys, members, max_size=2)))
    arrays = st.builds(np.zeros, st.sampled_from(SHAPES), st.sampled_from(DTYPES))
    return saved(**draw(st.dictionaries(keys.filter(str.isidentifier), arrays, max_size=3)))


good = st.builds(
    lambda label, names: saved(image=np.zeros((3, 8, 8), np.uint8), label=np.array(label), **names),
    st.sampled_from([[0, 1, 2], [1, 3, 1], [-5, 0, 7], [0, 2**31, 1], [0.0, 1.0, 2.0]]),
    st.sampled_from([{}, {}, {"names": ["a", "b", "c"]}, {"names": ["a"]}, {"names": [[1]]}]),
)
keys = st.lists(st.sampled_from(KEYS), max_size=1)


@pytest.mark.parametrize("times", FULL)
def test_npz_files(times, config, tmp_path):
    def use(made: tuple[bytes, list[str], list[str]]) -> None:
        (tmp_path / "a.npz").write_bytes(made[0])
        chosen = [f"data.source.{option}" for option in (*made[1], *made[2])]
        read(config, "data.source=npz", f"data.source.path={tmp_path / 'a.npz'}", *chosen)

    refuses("npz", times, st.tuples(archives() | spoilt(archives()) | spoilt(good), options, keys), use)
