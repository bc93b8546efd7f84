"""Records of metrics go to a file and come back; features of the data are computed once."""

import json
import os
import stat
import warnings

import numpy as np
import pytest

from gan_jax.errors import UserError
from gan_jax.metrics import record as records
from gan_jax.metrics.features import cache as reference
from gan_jax.metrics.features.cache import Features, cached_features, cached_statistics, reference_key
from gan_jax.metrics.record import Record


def record(**changes):
    fields = dict(
        metric="frechet",
        value=12.3412,
        features="efficientnet_lite0",
        weights="ab12cd34ef567890",
        resize="64 px bilinear antialias",
        reference="digits 8x8x1 #0123456789ab",
        split="train",
        reference_count=60000,
        generated_count=10000,
        seed=0,
    )
    return Record(**{**fields, **changes})


def test_text():
    assert record().text() == (
        "frechet 12.34 (efficientnet_lite0 #ab12cd, 64 px bilinear antialias, 10000 generated vs 60000 train, "
        "seed 0)"
    )
    kernel = record(
        metric="kernel",
        value=0.00123456,
        error=0.000231,
        error_meaning="std over 100 subsets of 1000",
        resize="none",
        quantisation="float32",
        step=300,
        options={"degree": 3},
        notes=("the classifier saw these images",),
    )
    assert kernel.text() == (
        "kernel 1.235e-03 ± 0.00023 (std over 100 subsets of 1000) (efficientnet_lite0 #ab12cd, float32, 10000 "
        "generated vs 60000 train, seed 0, step 300, degree 3) [the classifier saw these images]"
    )


@pytest.mark.parametrize("value", [0.1 + 0.2, 0.0, -1e-5, float("inf"), np.float32(1 / 3)])
def test_round_trip(value):
    """Through strict JSON, to the last bit."""
    kept = record(
        value=value, error=1e-3, error_meaning="std", step=7, options={"k": 5, "centre": (1, 2)}, notes=["a"]
    )
    text = json.dumps(kept.to_json(), allow_nan=False)
    assert Record.from_json(json.loads(text)) == kept
    assert kept.versions["gan_jax"]
    assert Record.from_json({**json.loads(text), "of_a_later_version": 1}) == kept


def test_an_error_needs_its_meaning():
    with pytest.raises(ValueError, match="needs its meaning"):
        record(error=0.1)


def test_fields_that_are_no_record():
    with pytest.raises(UserError, match="no record of a metric"):
        Record.from_json({"metric": "frechet"})
    with pytest.raises(UserError, match="no record of a metric"):
        Record.from_json({**record().to_json(), "value": "much"})


def test_append_and_read(tmp_path):
    """A line that was left torn stays alone: the record after it is whole."""
    path = tmp_path / "run" / "metrics_evaluated.jsonl"
    first, second = record(), record(step=5, value=float("nan"))
    records.append(path, first)
    with open(path, "a") as file:
        file.write('{"metric": "frech')
    records.append(path, second)
    records.append(path, first)
    found = records.read(path)
    assert [r.step for r in found] == [None, 5, None]
    assert found[0] == found[2] == first
    assert np.isnan(found[1].value)
    assert len(path.read_text().splitlines()) == 4
    assert records.read(tmp_path / "none.jsonl") == []


class Counted:
    """Features that tell how often they were computed."""

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
    second = cached_features(dict(reversed(KEY.items())), compute)  # the order of the fields is nothing
    assert compute.calls == 1
    assert same(first, second)
    assert same(first, compute())
    assert second.features.dtype == np.float32
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert [path.suffix for path in home.iterdir()] == [".npz"]


@pytest.mark.parametrize("field", reference.KEY)
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
        assert path.read_bytes() == whole  # and mended


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
    monkeypatch.setattr(reference, "LARGEST_BYTES", 200)
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
    with pytest.warns(UserWarning, match="not kept.*chmod go-w"):
        found = cached_features(KEY, compute)
    assert compute.calls == 2
    assert same(found, compute())


def test_the_oldest_go_first(home, monkeypatch):
    monkeypatch.setattr(reference, "LIMIT_BYTES", 4000)
    keys = [{**KEY, "seed": seed} for seed in range(4)]
    for age, key in enumerate(keys):
        cached_features(key, Counted(age))
        (new,) = (p for p in home.iterdir() if p.stat().st_mtime > 1e9)
        assert 1333 < new.stat().st_size < 2000  # two fit
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
