"""Thousands of inputs that cannot be used: the answer is always one sentence and no traceback.

Hypothesis damages overrides, config files, configs of workdirs, image folders and .npz files; its choices are
the same every time.
"""

import contextlib
import dataclasses
import functools
import io
import json
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

import runs
from gan_jax import config as configs
from gan_jax.config.build import make_source
from gan_jax.data import Loader, read_all
from gan_jax.errors import UserError
from gan_jax.train.validate import check_run
from runs import call, sentence, spawn

pytestmark = pytest.mark.timeout(300)

T = TypeVar("T")
FULL = [pytest.param(1, id="quick"), pytest.param(10, id="full", marks=pytest.mark.slow)]
# The least number of refused inputs of each kind in a quick run. A full run has ten times as many, 2,000 in all.
LEAST = {"override": 80, "file": 20, "json": 20, "folder": 40, "npz": 40}


def refuses(kind: str, times: int, strategy: st.SearchStrategy[T], use: Callable[[T], object]) -> None:
    """Checks that `use` raises UserError, and nothing else, for enough inputs of the strategy."""
    wanted, used, refused = times * LEAST[kind], set(), set()

    @settings(
        max_examples=2 * wanted, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def each(value: T) -> None:
        used.add(text := repr(value))
        try:
            use(value)
        except UserError as error:
            message = str(error)
            assert 10 < len(message) < 12_000, message
            assert message.splitlines() == [message]
            refused.add(text)

    each()
    print(f"{kind}: {len(refused)} of {len(used)} inputs were refused, {len(used) - len(refused)} accepted")
    assert len(refused) >= wanted


# ---- overrides

LINEAR = configs.Call("linear", images=1000, start=1e-3, end=0.0)
CONFIG = configs.Config(
    name="trial",
    batch=4,
    latent=configs.Call("normal", size=8),
    discriminator_terms=(configs.Term(LINEAR, configs.Call("r1")),),
    generator_optimizer=configs.Call("adam", learning_rate=LINEAR),
)
PATHS = [line.partition(" = ")[0] for line in configs.to_text(CONFIG).splitlines()]
ODD = [
    "", " ", "nan", "-inf", "1e400", "1e300", "-1", "0", "1.5", "9" * 5000, "none", "true", "maybe", "()", "[]",
    "(" * 300, "{[]: 1}", "[{1: 2}]", "{1}", "1j", "(1j,)", "b'x'", "'\\d'", "\0", "\n", "a\nb", "\x1b[2J",
    "\ud800", "²", "٣", "１", "hinge", "os", ":", "a:b", ":b", ".a:b", "a:", "..", "../x", "a.b", "builtins:no",
    "[[", "gan_jax.losses:jax", "x" * 3000, "=", "a=b", "1_000", "0x10", "None, None", "1,2", "2**70", "~nobody/x",
]  # fmt: skip
texts = st.sampled_from(ODD) | st.text(max_size=8) | st.floats().map(repr) | st.integers().map(str)


@st.composite
def paths(draw: st.DrawFn) -> str:
    """A field's path, mostly with a mistake in it."""
    path = draw(st.sampled_from(PATHS))
    how = draw(st.sampled_from(["as it is", "cut", "more", "other", "index", "twice"]))
    if how == "cut":
        return path[: draw(st.integers(0, len(path) - 1))]
    if how == "more":
        return f"{path}.{draw(texts)}"
    if how == "other":
        at = draw(st.integers(0, len(path) - 1))
        return path[:at] + draw(st.characters()) + path[at + 1 :]
    if how == "index":
        return path.replace(".0.", f".{draw(texts)}.")
    return path if how == "as it is" else f"{path}.{path}"


overrides = st.lists(st.builds("{}={}".format, paths(), texts) | texts, min_size=1, max_size=3)


@pytest.fixture(scope="module")
def digits():
    return make_source(CONFIG)


@pytest.mark.parametrize("times", FULL)
def test_overrides(times, digits):
    def use(items: Sequence[str]) -> None:
        config = configs.override(CONFIG, items)
        configs.validate(config)
        json.dumps(configs.to_json(config), allow_nan=False)
        if config.data.source == CONFIG.data.source:
            check_run(config, digits)

    refuses("override", times, overrides, use)


# ---- config files, and the configs in workdirs

FIELDS = [field.name for field in dataclasses.fields(configs.Config)]
VALUES = [
    "None", "True", "-1", "10**5000", "10**400", "2**63", "1.5", "float('nan')", "float('inf')", "''", "'a\\nb'",
    "'../x'", "'x' * 10_000", "[]", "[1]", "{}", "{1: 2}", "()", "(1, 2)", "object()", "print", "lambda: 0",
    "Call('adam')", "Call(3)", "Call('normal', size=object())", "Call('normal', size=10**400)", "Call('a\\nb')",
    "Data(source='digits')", "Data(resident=2)", "Log(every=10**30)", "Ema(half_life=10**400)", "Config",
    "np.float32(1)", "np.int64(3)", "(Penalty(3),)", "(Penalty(Call('r1'), weight='x'),)", "1 / 0", "exit()",
    "exit('a\\nb')", "undefined", "[][1]", "open('/nowhere/at all')", "'\\ud800'", "b'x'", "...",
    "int('9' * 5000)", "np.zeros((40, 40))",
]  # fmt: skip
HEAD = """import numpy as np
from gan_jax.config import Call, Config, Data, Ema, Log, Term
"""


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A config file with another value, or with other bytes."""
    name, value = draw(st.sampled_from(FIELDS)), draw(st.sampled_from(VALUES))
    rest = "" if name == "name" else "name='x', "
    content = f"{HEAD}\ndef get_config():\n    return Config({rest}{name}={value})\n".encode()
    if draw(st.booleans()):
        return content
    at = draw(st.integers(len(HEAD) - 1, len(content)))
    return content[:at] + draw(st.binary(max_size=3) | texts.map(lambda t: t.encode(errors="replace")))


@pytest.mark.parametrize("times", FULL)
def test_config_files(times, tmp_path):
    def use(content: bytes) -> None:
        (tmp_path / "mine.py").write_bytes(content)
        config = configs.load(tmp_path / "mine.py")
        configs.validate(config)
        json.dumps(configs.to_json(config), allow_nan=False)

    refuses("file", times, files(), use)


def test_paths_that_are_no_config_file(tmp_path):
    for name in ("", "x" * 5000, "a\nb.py", "a\0b", "~nobody-here/x.py", "\udc80.py", f"{__file__}/x.py"):
        with pytest.raises(UserError) as error:
            configs.load(str(tmp_path / name) if name[:1] != "~" else name)
        assert len(str(error.value).splitlines()) == 1


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["call", "with", "x"]), inner),
    max_leaves=4,
)


@st.composite
def trees(draw: st.DrawFn) -> object:
    """The JSON of a config with another value or another key somewhere."""
    tree = node = json.loads(json.dumps(configs.to_json(CONFIG)))
    while True:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not isinstance(node[key], dict | list) or not node[key] or draw(st.integers(0, 3)) == 0:
            break
        node = node[key]
    if isinstance(node, dict) and draw(st.booleans()):
        node[draw(st.text(max_size=5))] = node.pop(key)
    else:
        node[key] = draw(anything)
    return tree


@pytest.mark.parametrize("times", FULL)
def test_configs_of_workdirs(times):
    def use(tree: object) -> None:
        config = configs.from_json(tree)
        configs.validate(config)
        configs.check_resume(CONFIG, config)

    refuses("json", times, trees() | anything, use)


# ---- data


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return runs.write_config(tmp_path_factory.mktemp("config"))


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
    "mirror=true", "crop=left", "filter=\n", "size=x", "colour=1",
]  # fmt: skip
options = st.lists(st.sampled_from(OPTIONS), max_size=2)


def crafted(side: int) -> bytes:
    """A PNG file that claims `side` by `side` pixels and holds none."""
    parts = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), b"IDAT", b"IEND"
    chunks = (struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@functools.cache
def encoded(kind: str, mode: str, width: int, height: int) -> bytes:
    """Returns an image in that file format; a grey one if the format does not know the mode."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file, image = io.BytesIO(), Image.fromarray(noise).convert("L")
    try:
        (Image.fromarray(noise) if mode == "RGB" else image.convert(mode)).save(file, kind)
    except (OSError, ValueError, KeyError):
        image.save(file, kind)
    return file.getvalue()


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


suffixes = st.sampled_from([".png", ".jpg", ".JPEG", ".webp", ".bmp", ".tif", ".gif", ".ppm", ".txt", ".npz", ""])
names = st.builds("{}{}{}".format, st.sampled_from(["", "a/", "b/", "a/c/"]), texts.map(
    lambda text: text.replace("/", "_").replace("\0", "_").encode(errors="ignore")[:40].decode(errors="ignore")
), suffixes)  # fmt: skip
contents = spoilt(images) | st.builds(crafted, st.sampled_from([0, 9, 9000, 100_000, 2**31 - 1])) | images
folders = st.tuples(st.dictionaries(names, contents, max_size=4), options, st.sampled_from(["all", "header"]))


@pytest.mark.parametrize("times", FULL)
def test_image_folders(times, config):
    def use(made: tuple[dict[str, bytes], list[str], str]) -> None:
        held, chosen, check = made
        with tempfile.TemporaryDirectory() as place:
            for name, content in held.items():
                file = Path(place, name)
                with contextlib.suppress(OSError):  # the same name for a file and a folder
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)
            where = [f"data.source.path={place}", f"data.source.check={check}"]
            read(config, "data.source=folder", *where, *(f"data.source.{option}" for option in chosen))

    refuses("folder", times, folders, use)


def npy(header: str, content: bytes = b"") -> bytes:
    """Returns an .npy file with any header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + content


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def saved(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


HEADERS = [
    "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000, 3)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 8, -8)}",
    f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**70}, 8, 8)}}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 8, 8)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (2, 8, 8)}",
    "{'descr': '|V0', 'fortran_order': False, 'shape': (2, 8, 8)}",
    "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '|u1', 'fortran_order': 3, 'shape': 2}",
    "{'descr': 'zz', 'fortran_order': False, 'shape': (2,)}",
    "{[]: 1}", "(" * 500, "{", "1", "", "\x0c\n'", "__import__('os')", "{'shape': (2,)}",
]  # fmt: skip
DTYPES = ["u1", "i1", "f4", ">f4", "f8", "c8", "?", "U3", "S2", "M8[s]", "m8[s]", "O", "V3", "i8", "f2"]
SHAPES = [
    (), (0,), (3,), (3, 2), (3, 8, 8), (3, 8, 8, 1), (3, 8, 8, 3), (3, 8, 8, 2), (3, 1, 8, 8), (3, 0, 8),
    (0, 8, 8),
]  # fmt: skip
KEYS = ["image_key=x", "label_key=", "label_key=x", "image_key=\n", "image_key=label"]


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """An .npz file with any arrays, or with files that are no arrays."""
    keys = st.sampled_from(["image", "label", "x", "a\nb", "image.npy", "deep/er"])
    if draw(st.booleans()):
        members = st.builds(npy, st.sampled_from(HEADERS), st.binary(max_size=9)) | st.binary(max_size=9)
        return zipped(draw(st.dictionaries(keys.map("{}.npy".format) | keys, members, max_size=2)))
    arrays = st.builds(np.zeros, st.sampled_from(SHAPES), st.sampled_from(DTYPES))
    return saved(**draw(st.dictionaries(keys.filter(str.isidentifier), arrays, max_size=3)))


good = st.just(saved(image=np.zeros((3, 8, 8), np.uint8), label=np.arange(3)))
keys = st.lists(st.sampled_from(KEYS), max_size=1)


@pytest.mark.parametrize("times", FULL)
def test_npz_files(times, config, tmp_path):
    def use(made: tuple[bytes, list[str], list[str]]) -> None:
        (tmp_path / "a.npz").write_bytes(made[0])
        chosen = [f"data.source.{option}" for option in (*made[1], *made[2])]
        read(config, "data.source=npz", f"data.source.path={tmp_path / 'a.npz'}", *chosen)

    refuses("npz", times, st.tuples(archives() | spoilt(archives()) | spoilt(good), options, keys), use)


# ---- the command itself


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    """A folder with files that cannot be used."""
    home = tmp_path_factory.mktemp("bad")
    for name in ("empty", "odd", "bomb", "two\nlines"):
        (home / name).mkdir()
    (home / "odd" / "a.png").write_bytes(encoded("PNG", "RGB", 8, 8)[:60])
    (home / "bomb" / "a.png").write_bytes(crafted(100_000))
    (home / "objects.npz").write_bytes(saved(image=np.array([print], dtype=object)))
    (home / "huge.npz").write_bytes(zipped({"image.npy": npy(HEADERS[0])}))
    (home / "cut.npz").write_bytes(saved(image=np.zeros((3, 8, 8), np.uint8))[:-30])
    (home / "exits.py").write_text("raise SystemExit(0)")
    (home / "noise.py").write_bytes(os.urandom(100))
    return home


COMMANDS = [
    ["steps=9e99"], ["data.resident=maybe"], ["latent.size=1e300"], ["discriminator_terms.²=1"], ["a\nb=1"],
    ["loss=..:x"], ["generator.width=[{1: 2}]"], ["name=\x1b[2J"], ["data.source=a\nb"],
    ["data.source=folder"], ["data.source=folder", "data.source.path=~nobody-here"],
    ["data.source=folder", f"data.source.path={'x' * 5000}"], ["data.source=folder", "data.source.path=BAD/empty"],
    ["data.source=folder", "data.source.path=BAD/two\nlines"], ["data.source=folder", "data.source.path=BAD/odd"],
    ["data.source=folder", "data.source.path=BAD/bomb"], ["data.source=npz", "data.source.path=BAD/objects.npz"],
    ["data.source=npz", "data.source.path=BAD/huge.npz"], ["data.source=npz", "data.source.path=BAD/cut.npz"],
    ["data.source=tfds", f"data.source.name={'x' * 5000}"], ["data.source=gaussians", "data.source.count=1e17"],
    ["data.source=gaussians", "data.source.spacing=1e300"], ["data.source.size=100000"],
]  # fmt: skip


@pytest.mark.parametrize("items", COMMANDS, ids=lambda items: ascii(" ".join(items))[1:50])
def test_the_command_says_one_sentence(items, config, bad, tmp_path):
    items = [item.replace("BAD", str(bad)) for item in items]
    sentence(call("train", config, *items, "--workdir", tmp_path / "run"))
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("name", ["exits.py", "noise.py", "two\nlines", "none/such.py"])
def test_the_command_says_one_sentence_about_a_config_file(name, bad, tmp_path):
    sentence(call("train", bad / name, "--workdir", tmp_path / "run"))


@pytest.mark.parametrize("items", [COMMANDS[3], COMMANDS[15]], ids=["an override", "a bomb"])
def test_a_process_says_one_sentence_and_no_more(items, config, bad, tmp_path):
    items = [item.replace("BAD", str(bad)) for item in items]
    sentence(spawn("train", config, *items, "--workdir", tmp_path / "run"))
