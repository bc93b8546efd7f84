"""Thousands of inputs that cannot be used: the answer is always one sentence and no traceback.

Hypothesis damages overrides, config files and the configs of workdirs; its choices are the same every time.
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from damaged_files import HEADERS, crafted, encoded, npy, saved, zipped
from gan_jax import config as configs
from gan_jax.config.build import make_source
from gan_jax.errors import UserError
from gan_jax.train.validate import check_run
from refusals import FULL, refuses, texts
from runs import call, sentence, spawn

pytestmark = pytest.mark.timeout(300)


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


@pytest.mark.parametrize(
    "items", [COMMANDS[3], pytest.param(COMMANDS[15], marks=pytest.mark.slow)], ids=["an override", "a bomb"]
)
def test_a_process_says_one_sentence_and_no_more(items, config, bad, tmp_path):
    items = [item.replace("BAD", str(bad)) for item in items]
    sentence(spawn("train", config, *items, "--workdir", tmp_path / "run"))
