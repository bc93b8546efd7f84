"""Samples of any rank from .npz files, and how their numbers are mapped."""

import tracemalloc

import numpy as np
import pytest

from gan_jax.data import Mirrored, read_all
from gan_jax.data.floats import map_to_floats
from gan_jax.data.npz import npz
from gan_jax.data.source import rate
from gan_jax.errors import UserError

RNG = np.random.default_rng(2)


def saved(tmp_path, image, **others):
    np.savez(tmp_path / "a.npz", image=image, **others)
    return str(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(50, 2), (16, 16, 4), (4, 6, 6, 3), (3, 4, 5, 6, 1)])
def test_floats_in_range_are_used_as_they_are(tmp_path, shape):
    values = RNG.uniform(-1, 1, (5, *shape)).astype(np.float16)
    source = npz(saved(tmp_path, values, label=np.array([0, 1, 0, 1, 1])))
    rows = read_all(source)
    assert (source.shape, source.dtype, source.classes) == (shape, np.float32, 2)
    np.testing.assert_array_equal(rows["image"], values.astype(np.float32))
    assert rows["label"].tolist() == [0, 1, 0, 1, 1]
    (note,) = source.notes()
    assert note.startswith("note: the array is float16 from -")
    assert note.endswith("and is used as it is")


def test_latents_with_their_scale(tmp_path):
    latents = (RNG.normal(size=(64, 8, 8, 4)) * 5.49).astype(np.float32)
    path = saved(tmp_path, latents)
    fixed, measured = npz(path, scale=0.18215), npz(path, scale="std")
    np.testing.assert_array_equal(read_all(fixed)["image"], (latents * np.float64(0.18215)).astype(np.float32))
    assert (fixed.shape, fixed.dtype) == ((8, 8, 4), np.float32)
    assert abs(read_all(measured)["image"].std() - 1) < 1e-3
    (note,) = measured.notes()
    deviation = float(np.std(latents, dtype=np.float64))
    assert f"times {1 / deviation:.4g} (1 / the standard deviation, {deviation:.4g})" in note
    assert "tanh" in note
    assert len({fixed.fingerprint(), measured.fingerprint(), npz(path, scale=1).fingerprint()}) == 3


@pytest.mark.parametrize("shape", [(4, 8, 8), (8, 8, 4), (2, 100), (100, 2), (8, 6, 4)])
def test_channels_that_seem_to_come_first_are_told(tmp_path, shape):
    (note,) = npz(saved(tmp_path, RNG.normal(size=(3, *shape))), scale=1).notes()
    assert (f"with {shape[-1]} channels (last axis; if they come first, transpose it)" in note) == (
        shape[0] in (2, 4)
    )


def test_a_range_becomes_minus_one_to_one(tmp_path):
    waves = np.array([[[-40.0], [-10], [0], [10], [5], [20]]]).repeat(5, axis=2)[None, None]  # rank 5
    source = npz(saved(tmp_path, waves), range=(-10, 10))
    np.testing.assert_allclose(read_all(source)["image"][0, 0, 0, :, 0], [-1, -1, 0, 1, 0.5, 1])
    assert "; -10 to 10 become -1 to 1, and 10 of 30 numbers beyond them are clipped" in source.notes()[0]


def test_integers_and_vectors_may_be_scaled(tmp_path):
    sound = RNG.integers(-(2**15), 2**15, (3, 100, 2)).astype(np.int16)
    np.testing.assert_array_equal(
        read_all(npz(saved(tmp_path, sound), scale=2**-15))["image"], sound.astype(np.float32) / 32768
    )
    vectors = RNG.normal(size=(3, 4))
    got = read_all(npz(saved(tmp_path, vectors), scale=0.5))["image"]
    np.testing.assert_array_equal(got, (vectors * 0.5).astype(np.float32))


def test_bytes_of_any_rank_stay_bytes(tmp_path):
    video = RNG.integers(0, 256, (4, 3, 6, 5, 3), np.uint8)
    source = npz(saved(tmp_path, video), mirror=True)
    assert isinstance(source, Mirrored)
    assert (source.shape, source.dtype, len(source)) == ((3, 6, 5, 3), np.uint8, 8)
    rows = read_all(source)["image"]
    np.testing.assert_array_equal(rows, np.concatenate([video, video[:, :, :, ::-1]]))


def test_images_with_a_range_are_as_before(tmp_path):
    image = RNG.uniform(-3, 9, (4, 6, 5)).astype(np.float32)
    source = npz(saved(tmp_path, image), range=(-3, 9))
    assert (source.shape, source.dtype) == ((6, 5, 1), np.uint8)
    np.testing.assert_array_equal(read_all(source)["image"][..., 0], np.rint((image + np.float64(3)) * (255 / 12)))


@pytest.mark.parametrize("channels", [1, 2])
def test_a_range_makes_floats_of_audio_too(tmp_path, channels):
    sound = RNG.integers(-(2**15), 2**15, (3, 100, channels)).astype(np.int16)
    source = npz(saved(tmp_path, sound), range=(-(2**15), 2**15))
    assert (source.shape, source.dtype) == ((100, channels), np.float32)
    np.testing.assert_array_equal(read_all(source)["image"], sound / np.float32(2**15))
    assert source.notes()[0].endswith("; -32768 to 32768 become -1 to 1")
    source = npz(saved(tmp_path, 3 * sound.astype(np.float32)), range=(-3 * 2**15, 3 * 2**15))
    assert (source.shape, source.dtype) == ((100, channels), np.float32)
    np.testing.assert_allclose(read_all(source)["image"], sound / np.float32(2**15), atol=1e-7)
    for wrong, message in [
        (sound, "these integers must become floats: pass .*become -1 and 1 .-32768,32768 for 16-bit audio"),
        (sound.astype(np.float32), "floats must lie in .*become -1 and 1, or"),
        (sound.astype(np.uint8), "must become floats: .*images need a last axis of channels"),
    ]:
        with pytest.raises(UserError, match=message) as error:
            npz(saved(tmp_path, wrong))
        assert "used as images" not in str(error.value)
    (note, *_) = npz(saved(tmp_path, sound.transpose(0, 2, 1)), range=(-(2**15), 2**15)).notes()
    assert note == f"note: these are images of {channels} x 100 pixels; audio must be [N, T, C]: transpose it"


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int16, np.float64])
def test_parts_have_the_numbers_of_the_whole_and_need_little_memory(monkeypatch, dtype):
    samples = (RNG.normal(size=(300, 7, 400)) * 50).astype(dtype)
    monkeypatch.setattr("gan_jax.data.floats._PART", 10_000)
    deviation = float(np.std(samples, dtype=np.float64))
    ranged = np.clip((samples - np.float64(-90)) * (2 / 150) - 1, -1, 1).astype(np.float32)
    scaled = (samples * np.float64(0.37)).astype(np.float32)
    by_std = (samples * np.float64(f"{1 / deviation:.4g}")).astype(np.float32)
    unchanged = np.ascontiguousarray(samples, np.float32) / 300
    tracemalloc.start()
    for values, given, scale, expected in [
        (samples, (-90, 60), None, ranged),
        (samples, None, 0.37, scaled),
        (samples, None, "std", by_std),
        (unchanged, None, None, unchanged),
    ]:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        got, note = map_to_floats("it", values, given, scale)
        _, peak = tracemalloc.get_traced_memory()
        assert peak - before < (1.2 if expected is not unchanged else 0.2) * expected.nbytes
        np.testing.assert_array_equal(got, expected)
        if given:
            outside = np.count_nonzero((samples < -90) | (samples > 60))
            assert f"and {outside:,} of 840,000 numbers beyond them are clipped" in note
        del got
    tracemalloc.stop()


def test_a_rate_is_that_of_audio_and_video(tmp_path):
    sound = RNG.uniform(-1, 1, (3, 100, 1))
    assert rate(npz(saved(tmp_path, sound))) is None
    assert rate(npz(saved(tmp_path, sound), rate=22_050)) == 22_050
    clips = RNG.integers(0, 256, (4, 3, 6, 5, 3), np.uint8)
    assert rate(npz(saved(tmp_path, clips), rate=12.5, mirror=True)) == 12.5
    for image, given, message in [
        (sound, 0.4, "rate must be from 1 to 1,000,000,000 a second, not 0.4"),
        (sound, float("nan"), "rate must be from 1 to"),
        (clips, 0, "rate must be from 0.01 to"),
        (clips[:, 0], 10, "holds images: rate is only for audio and video"),
        (sound[:, :2, 0].astype(np.float32), 10, "holds vectors: rate"),
    ]:
        with pytest.raises(UserError, match=message):
            npz(saved(tmp_path, image), rate=given)


def test_refusals_are_one_sentence(tmp_path):
    low = RNG.uniform(-3, 3, (4, 8, 8, 4)).astype(np.float32)
    cases = [
        (low, {}, "must be uint8 .*range=LOW,HIGH .*scale=FACTOR keeps floats"),
        (np.abs(low) / 3, {}, "must be uint8"),  # 0 to 1: nearly always images
        (low[:, None], {}, "holds -2.* floats must lie in .*scale=FACTOR"),
        (low[:, None].astype(np.int64), {}, "holds -2 to 2, but these integers must become floats: pass"),
        (np.ones((2, 3, 4, 5, 6), np.uint16), {}, "holds 1 to 1, but these integers must become floats"),
        (low, dict(range=(0, 1), scale=2.0), "give one of them"),
        (low, dict(scale=0), "factor other than 0"),
        (low, dict(scale=float("inf")), "factor other than 0"),
        (low, dict(scale=1e39), "beyond float32"),
        (0 * low, dict(scale="std"), "one value only"),
        (low, dict(scale=0.1, size=4), "samples of 8x8x4 float32: size"),
        (low, dict(scale=0.1, mirror=True), "mirror are only for images"),
        (low[..., 0] / 9, dict(mirror=True), "mirror are only for images"),
        (low * np.nan, dict(scale=1.0), "not finite"),
    ]
    for image, options, message in cases:
        with pytest.raises(UserError, match=message) as error:
            npz(saved(tmp_path, image), **options)
        assert "\n" not in str(error.value)
