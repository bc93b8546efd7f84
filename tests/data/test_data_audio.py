"""Windows of audio files that the tests write."""

import shutil
import sys
import zipfile

import numpy as np
import pytest
import soundfile

from gan_jax.data import Source, read_all
from gan_jax.data.audio import audio
from gan_jax.errors import UserError

RNG = np.random.default_rng(3)


def noise(samples, channels=1):
    return RNG.integers(-(2**14), 2**14, (samples, channels)).astype(np.int16)


def write(path, samples, rate=8000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return samples


def refusal(path, **options):
    with pytest.raises(UserError) as error:
        audio(str(path), **{"window": 100, **options})
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("channels", [1, 2])
def test_windows_are_cut_one_after_another(tmp_path, channels):
    first, second = noise(250, channels), noise(100, channels)
    write(tmp_path / "deep/er/a.wav", first)
    write(tmp_path / "deep/er/b.flac", second)  # lossless
    write(tmp_path / "deep/er/c.wav", noise(99, channels))
    (tmp_path / "deep/er/readme.txt").write_text("sounds")
    source = audio(str(tmp_path), window=100, labels=False)
    assert isinstance(source, Source)
    assert (len(source), source.shape, source.dtype, source.classes) == (3, (100, channels), np.float32, None)
    expected = np.stack([first[:100], first[100:200], second]) / np.float32(32768)
    np.testing.assert_array_equal(read_all(source)["image"], expected)
    np.testing.assert_array_equal(source.read(np.array([2, 0, 2]))["image"], expected[[2, 0, 2]])
    kind = {1: "mono", 2: "stereo"}[channels]
    assert source.notes() == [
        "note: 1 file is not read as audio: deep/er/readme.txt",
        f"note: 2 files of 8,000 Hz, {kind}, give windows of 100 samples (0.0125 s), one after another; 14.3% of "
        "the sound, at the ends of files, is left out; 1 file shorter than a window: left out (deep/er/c.wav)",
    ]
    with pytest.raises(IndexError):
        source.read(np.array([3]))


def test_classes_splits_and_zip_files_are_those_of_folders(tmp_path):
    for split in ("train", "test"):
        for number, name in enumerate(("dog", "cat")):
            write(tmp_path / "set" / split / name / "1.wav", noise(100 + 200 * number))
    source = audio(str(tmp_path / "set"), window=100)
    assert (source.class_names, source.classes) == (("cat", "dog"), 2)
    assert source.label is not None
    assert source.label.tolist() == read_all(source)["label"].tolist() == [0, 0, 0, 1]
    assert "read as splits: this is train" in source.notes()[0]
    assert audio(str(tmp_path / "set"), window=100, split="test").fingerprint() != source.fingerprint()
    assert audio(str(tmp_path / "set"), window=100, labels=False).fingerprint() != source.fingerprint()
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        for file in sorted((tmp_path / "set").rglob("*.wav")):
            packed.write(file, file.relative_to(tmp_path))
    (tmp_path / "set").rename(tmp_path / "elsewhere")
    zipped = audio(str(tmp_path / "set.zip"), window=100)
    assert zipped.fingerprint() == source.fingerprint()
    assert zipped.fingerprint() == audio(str(tmp_path / "elsewhere"), window=100).fingerprint()
    moved = read_all(audio(str(tmp_path / "elsewhere"), window=100))
    np.testing.assert_array_equal(read_all(zipped)["image"], moved["image"])


def test_classes_without_a_window_are_named(tmp_path):
    for name, samples in (("dog/a/1.wav", 200), ("dog/b/1.wav", 99), ("cat/1.wav", 99), ("cow 10/1.wav", 0)):
        write(tmp_path / name, noise(samples))
    source = audio(str(tmp_path), window=100)
    assert source.class_names == ("dog",)  # not a, which alone has a window
    assert source.notes()[0] == "note: the classes cat, cow 10 have no samples: all their audio files are left out"
    assert "no samples" not in "".join(audio(str(tmp_path), window=100, labels=False).notes())
    source = audio(str(tmp_path), window=99)
    assert (source.class_names, source.classes) == (("cat", "dog"), 2)
    assert source.notes()[0] == "note: the class cow 10 has no samples: all its audio files are left out"


def test_rates_and_channels_must_agree(tmp_path):
    write(tmp_path / "a.wav", noise(100), 8000)
    write(tmp_path / "b.wav", noise(100), 44_100)
    write(tmp_path / "c.wav", stereo := noise(100, 2), 44_100)
    assert "differ (8,000 Hz: 1 file, 44,100 Hz: 2 files), and nothing is resampled" in refusal(tmp_path)
    assert "pass data.source.rate=44100" in refusal(tmp_path)
    assert "differ (1 channel: 1 file, 2 channels: 1 file)" in refusal(tmp_path, rate=44_100)
    assert "no audio file under" in refusal(tmp_path, rate=16_000)
    low = audio(str(tmp_path), window=100, rate=8000)
    assert (len(low), low.rate) == (1, 8000)
    assert low.notes()[0] == "note: 2 files without 8,000 Hz: left out (b.wav, c.wav)"
    mono = audio(str(tmp_path), window=100, rate=44_100, channels=1)
    expected = (stereo / np.float32(32768)).mean(1, keepdims=True)
    np.testing.assert_array_equal(read_all(mono)["image"][1], expected)
    both = audio(str(tmp_path), window=100, rate=44_100, channels=2)
    np.testing.assert_array_equal(read_all(both)["image"], [stereo / np.float32(32768)])


def test_more_than_two_channels_need_their_mean(tmp_path):
    write(tmp_path / "a.wav", surround := noise(100, 6))
    assert "have 6 channels, and samples are mono or stereo: pass data.source.channels=1" in refusal(tmp_path)
    assert "no audio file under" in refusal(tmp_path, channels=2)
    (mean,) = read_all(audio(str(tmp_path), window=100, channels=1))["image"]
    np.testing.assert_allclose(mean, (surround / 32768).mean(1, keepdims=True), atol=1e-7)


def test_silence_and_clipping_are_said(tmp_path):
    quiet, loud = np.zeros((300, 1)), 0.5 * np.ones((100, 1))
    quiet[250] = 0.0009
    loud[:3] = -1
    write(tmp_path / "a.wav", np.concatenate([quiet, loud]), subtype="PCM_16")
    source = audio(str(tmp_path), window=100)
    assert source.notes()[-1] == (
        "note: of 4 windows 3 are silent (below -60 dB) and 1 clips (three samples or more at full scale)"
    )
    assert len(audio(str(tmp_path), window=100, check="header").notes()) == 1
    write(tmp_path / "a.wav", 1.5 * np.ones(100, np.float32), subtype="FLOAT")
    source = audio(str(tmp_path), window=100)
    assert source.notes()[-1].endswith("samples go up to 1.5 and are clipped to 1")
    assert source.read(np.array([0]))["image"].max() == 1


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        ("wav", "PCM_U8"),
        ("flac", "PCM_S8"),
        ("wav", "PCM_16"),
        ("wav", "PCM_24"),
        ("wav", "ULAW"),
        ("wav", "ALAW"),
    ],
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_clipping_is_found_at_the_full_scale_of_the_file(tmp_path, suffix, subtype, sign):
    loud = np.full((200, 1), 0.5 * sign)
    loud[:3] = 0.999999 * sign
    write(tmp_path / f"a.{suffix}", loud, subtype=subtype)
    assert audio(str(tmp_path), window=100).notes()[-1] == (
        "note: of 2 windows 1 clips (three samples or more at full scale)"
    )


def test_a_mean_of_channels_is_judged_as_it_is_used(tmp_path):
    opposite, one_side = np.ones((100, 2)), np.ones((100, 2))
    opposite[:, 1], one_side[:, 1] = -1, 0
    write(tmp_path / "a.wav", np.concatenate([opposite, one_side, np.ones((100, 2))]), subtype="PCM_16")
    both = audio(str(tmp_path), window=100)
    mean = audio(str(tmp_path), window=100, channels=1)
    assert both.notes()[-1] == "note: of 3 windows 3 clip (three samples or more at full scale)"
    assert mean.notes()[-1] == (
        "note: of 3 windows 1 is silent (below -60 dB) and 1 clips (three samples or more at full scale)"
    )
    write(tmp_path / "a.wav", 1.5 * one_side, subtype="FLOAT")
    assert "go up to 1.5 and are clipped" in audio(str(tmp_path), window=100).notes()[-1]
    assert "clipped" not in audio(str(tmp_path), window=100, channels=1).notes()[-1]


def test_files_that_cannot_be_read_are_named(tmp_path):
    write(tmp_path / "good.wav", noise(1000))
    write(tmp_path / "cut.flac", noise(20_000))
    content = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "gone.ogg").symlink_to(tmp_path / "nowhere")
    write(tmp_path / "nan.wav", np.full(100, np.nan, np.float32), subtype="FLOAT")
    message = refusal(tmp_path)
    assert "4 of the 5 audio files under" in message
    assert all(name in message for name in ("cut.flac (", "text.wav (", "gone.ogg (", "nan.wav (it has samples"))


@pytest.mark.parametrize("check", ["all", "header"])
@pytest.mark.parametrize("name", ["a.wav", "a.aiff"])
def test_a_file_that_is_cut_is_broken(tmp_path, name, check):
    write(tmp_path / name, noise(40_000))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    message = refusal(tmp_path, check=check)
    assert "1 of the 1 audio files under" in message
    assert f"{name} (it ends after 39,9" in message
    assert " of 80,0" in message


def test_a_size_that_a_pipe_left_open_is_no_cut(tmp_path):
    samples = write(tmp_path / "a.wav", noise(100))
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[40:44] = b"\xff" * 4  # as ffmpeg writes it
    (tmp_path / "a.wav").write_bytes(content)
    np.testing.assert_array_equal(read_all(audio(str(tmp_path), window=100))["image"][0], samples / 32768)


def test_a_set_without_windows_is_refused(tmp_path):
    assert "there are no audio files under" in refusal(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"")
    assert "1 file there, such as a.mp4" in refusal(tmp_path)
    write(tmp_path / "a.wav", noise(0))
    assert "the audio files under" in (message := refusal(tmp_path))
    assert message.endswith("hold no samples: replace them")
    write(tmp_path / "a.wav", noise(99))
    assert "the longest has 99 samples; pass data.source.window=99 or less" in refusal(tmp_path)
    assert "window must be 1 to" in refusal(tmp_path, window=0)
    write(tmp_path / "dog/b.wav", noise(100))
    write(tmp_path / "c.wav", noise(100))
    assert "holds audio files itself ('c.wav') and in sub-folders ('dog')" in refusal(tmp_path)


def test_a_file_that_changes_during_a_run_is_noticed(tmp_path):
    write(tmp_path / "a.wav", noise(300))
    source = audio(str(tmp_path), window=100)
    before = read_all(source)["image"]
    shutil.copy(tmp_path / "a.wav", tmp_path / "copy")
    shutil.move(tmp_path / "copy", tmp_path / "a.wav")  # the same content, another file
    np.testing.assert_array_equal(read_all(source)["image"], before)
    write(tmp_path / "a.wav", noise(300))
    with pytest.raises(UserError, match="has changed since the run began"):
        source.read(np.array([1]))


def test_files_are_read_once_and_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("gan_jax.data.facts._SETTLED", -1e9)
    write(tmp_path / "set/a.wav", 2 * np.ones(100, np.float32), subtype="FLOAT")
    notes = audio(str(tmp_path / "set"), window=100).notes()

    def fail(*_):
        raise AssertionError("a file was read again")

    monkeypatch.setattr("gan_jax.data.audio_files._examine", fail)
    assert audio(str(tmp_path / "set"), window=100).notes() == notes
    with pytest.raises(AssertionError):  # another window has other facts
        audio(str(tmp_path / "set"), window=50)


def test_without_soundfile_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    write(tmp_path / "a.wav", noise(300))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert "pip install 'gan_jax[audio]'" in refusal(tmp_path)
