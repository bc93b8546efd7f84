"""Compiled programs are kept in a private folder, and change nothing but the time of a run."""

import os
import re
import stat
import time
import zlib
from pathlib import Path

import jax
import pytest

import runs
from gan_jax.commands import doctor
from gan_jax.errors import UserError
from gan_jax.metrics.features import cache as reference
from gan_jax.metrics.features import inception
from gan_jax.runtime import compilation_cache
from gan_jax.runtime.compilation_cache import enable, folder

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache folder; what a test changes in JAX's config is restored."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GAN_JAX_CACHE")
    monkeypatch.delenv("TORCH_HOME", raising=False)
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)


def used() -> str | None:
    """Returns the folder that JAX keeps programs in."""
    return jax.config.jax_compilation_cache_dir


# ---- which folder


def test_the_folder_is_private(home):
    before = os.umask(0)
    try:
        assert enable() is None
    finally:
        os.umask(before)
    assert folder() == home / "gan_jax" / "xla"
    assert Path(used()).parent == folder()
    for path in (Path(used()), folder(), folder().parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert f"cache     {used()}, 0.0 MiB" in doctor.examine()


def test_by_default_it_is_in_the_home_directory(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert folder() == home / ".cache" / "gan_jax" / "xla"


def test_the_user_chooses_the_folder(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    for value, path in ((str(home / "mine"), home / "mine"), ("~/own", home / "own")):
        monkeypatch.setenv("GAN_JAX_CACHE", value)
        jax.config.update("jax_compilation_cache_dir", None)
        assert enable() is None
        assert Path(used()).parent == folder() == path / "xla"
        for private in (path, folder(), Path(used())):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert reference.folder() == path / "features"
        assert inception._folders()[0] == path / "weights"
        assert inception._folders()[1] == home / "torch" / "hub" / "checkpoints"  # PyTorch's own stays where it is
    assert not (home / "gan_jax").exists()
    (home / "mine").chmod(0o770)
    monkeypatch.setenv("GAN_JAX_CACHE", str(home / "mine"))
    jax.config.update("jax_compilation_cache_dir", None)
    assert "others can write to it" in enable()


@pytest.mark.parametrize("value", ["some/folder", "offf", "./x"])
def test_a_value_that_is_no_absolute_path_is_refused(value, home, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", value)
    runs.sentence(runs.call("doctor"), f"GAN_JAX_CACHE={value} is no absolute path", "or off")
    with pytest.raises(UserError, match="is no absolute path"):
        reference.cached_arrays({}, dict)
    assert not list(home.iterdir())


@pytest.mark.parametrize("value", ["off", "0", "False", "no"])
def test_the_cache_can_be_off(value, home, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", value)
    assert enable() is None
    assert used() is None
    assert not compilation_cache.wanted()


@pytest.mark.parametrize("mode", [0o770, 0o707])
@pytest.mark.parametrize("level", ["gan_jax", "gan_jax/xla"])
def test_a_folder_that_others_can_write_to_is_not_used(level, mode, home):
    (home / level).mkdir(parents=True)
    (home / level).chmod(mode)
    note = enable()
    assert note == (
        f"note: compiled programs are not kept: {home / level}: others can write to it: chmod go-w {home / level}"
    )
    assert used() is None
    (home / level).chmod(0o755)
    assert enable() is None


def test_a_folder_that_others_can_replace_is_not_used(home):
    home.chmod(0o777)
    assert f"{home / 'gan_jax'}: anyone can write to {home}: set GAN_JAX_CACHE" in enable()
    assert used() is None
    home.chmod(0o1777)  # as /tmp: users can remove only their own files
    assert enable() is None


def test_a_folder_of_another_user_is_not_used(home, monkeypatch):
    (home / "gan_jax").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "another user's" in enable()
    assert used() is None


def test_a_folder_that_cannot_be_made_is_only_a_note(home):
    (home / "gan_jax").write_text("a file")
    assert enable() == f"note: compiled programs are not kept: {home / 'gan_jax'}: File exists"
    assert used() is None


def test_the_folder_that_jax_has_already_stays(home, monkeypatch):
    jax.config.update("jax_compilation_cache_dir", "/chosen")
    assert enable() is None
    assert used() == "/chosen"
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("GAN_JAX_CACHE", "off")
    assert enable() is None
    assert used() is None
    assert "cache     off" in doctor.examine()
    assert not list(home.iterdir())


def test_another_number_of_threads_is_another_folder(home, monkeypatch):
    enable()
    first = used()
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setattr(compilation_cache, "cpu_threads", lambda: 1234)
    enable()
    assert used() != first


# ---- its files


def entry(name: str, content: bytes, age: float = 0.0) -> Path:
    """Writes a program of this age in seconds."""
    path = Path(used()) / f"{name}-cache"
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def enable_again() -> None:
    jax.config.update("jax_compilation_cache_dir", None)
    assert enable() is None


def test_torn_programs_are_removed_and_each_is_checked_once(home, monkeypatch):
    enable()
    whole = zlib.compress(os.urandom(1000))
    good = [entry("whole", whole), entry("zstandard", b"(\xb5/\xfd" + whole)]
    torn = [entry("torn", whole[:-1]), entry("flipped", whole[:-3] + b"\0\0\0"), entry("empty", b"")]
    torn += [entry("zeros", bytes(1000)), entry("noise", os.urandom(1000)), entry("text", b"no program")]
    enable_again()
    assert [path.exists() for path in good + torn] == [True] * 2 + [False] * 6
    old = entry("checked before", whole[:-1], age=1000)
    enable_again()
    assert old.exists()


def test_the_oldest_programs_over_the_limit_are_removed(home, monkeypatch):
    enable()
    monkeypatch.setattr(compilation_cache, "LIMIT_BYTES", 2500)
    paths = [entry(str(age), b"x" * 1000, age=1000 + age) for age in (3, 1, 2)]
    stamp = Path(used()) / compilation_cache._STAMP
    stamp.touch()
    enable_again()
    assert [path.exists() for path in paths] == [False, True, True]


# ---- runs

MLP = runs.TINY.replace('"dcgan", width=8', '"mlp", width=8')


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["jit", "shard", "pmap"])
def test_programs_from_the_cache_give_the_same_bits(mode, tmp_path):
    """One process compiles, one loads the programs, and without a mesh others meet programs that are damaged."""
    config, cache = runs.write_config(tmp_path, MLP), tmp_path / "cache"
    variables = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "XDG_CACHE_HOME": str(cache)}
    variables["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # to compile in less time
    devices = 1 if mode == "jit" else 2
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"

    def train(name: str) -> str:
        arguments = ["steps=4", f"parallel.mode={mode}", "--workdir", tmp_path / name]
        outcome = runs.spawn("train", config, *arguments, GAN_JAX_CACHE="on", XLA_FLAGS=flags, **variables)
        assert outcome.code == 0, outcome.err
        lines = outcome.err.splitlines()  # the cache adds no line
        assert all(re.match(r"training |data: |step \d|look at:$|  /", line) for line in lines), outcome.err
        return outcome.digest

    def programs() -> dict[str, bytes]:
        return {name: data for name, data in runs.files(cache).items() if name.endswith("-cache")}

    cold, first = train("cold"), programs()
    assert max(map(len, first.values())) > 10_000
    assert train("warm") == cold
    assert programs() == first  # nothing was compiled again
    if mode != "jit":
        return
    for path in cache.rglob("*-cache"):
        os.truncate(path, path.stat().st_size // 2)
    assert train("torn") == cold
    assert programs().keys() == first.keys()
    assert all(zlib.decompress(data) for data in programs().values())
    for path in cache.rglob("*-cache"):  # damaged after the check: JAX cannot read them, and compiles
        path.write_bytes(bytes(path.stat().st_size))
        os.utime(path, (0, 0))
    assert train("damaged") == cold
