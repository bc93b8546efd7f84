"""The cache of features: computed once, checked when read, and limited in size."""

import os
import stat
import warnings

import numpy as np
import pytest

from gan_jax.metrics.features import cache
from gan_jax.metrics.features.cache import Features, cached_features, cached_statistics, reference_key


class Counted:
    """Features that count how often they are computed."""

    def __init__(self, seed=0, labels=True):
        rng = np.random.default_rng(seed)
        self.calls = 0
        self.features = rng.normal(size=(20, 4)).astype(np.float32)
        self.labels = np.arange(20, dtype=np.int32) if labels else None

    def __call__(self):
        self.calls += 1
        return Features(self.features, None, self.labels)


KEY = reference_key(
    extractor="a", weights="b", resize="c", quantisation="d", data="e", split="f", count=20, seed=0
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GAN_JAX_CACHE", "on")
    return tmp_path / "gan_jax" / "features"


def same(a, b):
    return all((u is None) == (v is None) and (u is None or np.array_equal(u, v)) for u, v in zip(a, b))


@pytest.mark.parametrize("labels", [True, False])
def test_computed_once(home, labels):
    compute = Counted(labels=labels)
    first = cached_features(KEY, compute)
    second = cached_features(dict(reversed(KEY.items())), compute)  # the order of the entries doesn't matter
    assert compute.calls == 1
    assert same(first, second)
    assert same(first, compute())
    assert second.features.dtype == np.float32
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert [path.suffix for path in home.iterdir()] == [".npz"]


@pytest.mark.parametrize("field", cache.KEY)
@pytest.mark.usefixtures("home")
def test_every_field_of_the_key_counts(field):
    before, after = Counted(0), Counted(1)
    cached_features(KEY, before)
    changed = {**KEY, field: 21 if field in ("count", "seed") else "another"}
    assert same(cached_features(changed, after), after())
    assert same(cached_features(KEY, after), before())
    with pytest.raises(ValueError, match=f"lacks {field}"):
        cached_features({name: value for name, value in KEY.items() if name != field}, after)


def test_a_damaged_or_foreign_file_is_computed_again(home):
    compute = Counted()
    cached_features(KEY, compute)
    (path,) = home.iterdir()
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(compute.features.tobytes()) + 40] ^= 1
    other = reference_key(**{**KEY, "seed": 1})
    cached_features(other, Counted(1))
    (foreign,) = (p for p in home.iterdir() if p != path)
    damages = [whole[:-30], whole[: len(whole) // 2], b"", b"\x00" * 100, bytes(flipped), foreign.read_bytes()]
    for calls, damage in enumerate(damages, start=2):
        path.write_bytes(damage)
        assert same(cached_features(KEY, compute), Features(compute.features, None, compute.labels))
        assert compute.calls == calls
        assert path.read_bytes() == whole  # the file is repaired


def test_a_pickle_is_never_loaded(home):
    compute = Counted()
    cached_features(KEY, compute)
    (path,) = home.iterdir()
    with np.load(path) as file:
        key = file["key"]
    np.savez(path, key=key, features=np.array([{"a": 1}], dtype=object))
    assert same(cached_features(KEY, compute), Features(compute.features, None, compute.labels))
    assert compute.calls == 2


def test_off(home, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", "off")
    compute = Counted()
    cached_features(KEY, compute)
    cached_features(KEY, compute)
    assert compute.calls == 2
    assert not home.exists()


def test_what_is_too_large_is_not_kept_but_its_statistics_are(home, monkeypatch):
    monkeypatch.setattr(cache, "LARGEST_BYTES", 200)
    compute = Counted()
    cached_features(KEY, compute)
    assert not home.exists() or not list(home.iterdir())
    a = cached_statistics(KEY, lambda: compute().features)
    calls = compute.calls
    b = cached_statistics(KEY, lambda: compute().features)
    assert compute.calls == calls
    assert a.count == b.count == 20
    assert np.array_equal(a.covariance, b.covariance)
    assert np.array_equal(a.mean, b.mean)


def test_a_folder_that_others_can_write_to_is_not_used(home):
    compute = Counted()
    cached_features(KEY, compute)
    home.chmod(0o777)
    with pytest.warns(UserWarning, match="not cached.*chmod go-w"):
        found = cached_features(KEY, compute)
    assert compute.calls == 2
    assert same(found, compute())


def test_the_oldest_go_first(home, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT_BYTES", 4000)
    keys = [{**KEY, "seed": seed} for seed in range(4)]
    for age, key in enumerate(keys):
        cached_features(key, Counted(age))
        (new,) = (p for p in home.iterdir() if p.stat().st_mtime > 1e9)
        assert 1333 < new.stat().st_size < 2000  # two files fit
        os.utime(new, (1e6 + age, 1e6 + age))
    torn = home / "half.tmp"
    torn.write_bytes(b"x")
    os.utime(torn, (1e6, 1e6))
    last = Counted(9)
    cached_features({**KEY, "seed": 9}, last)
    assert not torn.exists()
    assert len(list(home.iterdir())) == 2
    cached_features({**KEY, "seed": 9}, last)
    assert last.calls == 1


def test_no_warning_where_all_is_well(home):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cached_features(KEY, Counted())
    assert len(list(home.iterdir())) == 1
