"""Runs of clips and of audio: what lies in `samples/`, what the page shows, and what `gan-jax sample` writes."""

import io
import re
import wave

import numpy as np
import pytest
from PIL import Image

import runs
import small_sets
from gan_jax import config as configs
from gan_jax.config.declared import Declared
from gan_jax.report.sample_files import files_beside
from gan_jax.train.validate import notes
from runs import call, sentence

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]
FIELDS = ["steps=4", "batch=4", "sample.every=2", "sample.count=6", "sample.gif=true"]


def train(folder, source, *fields):
    config = runs.write_config(folder, runs.MLP)
    words = [f"data.source=small_sets:{source}", *FIELDS, *fields]
    outcome = call("train", config, *words, "--workdir", folder / "run")
    assert outcome.code == 0, outcome.err
    return folder / "run", outcome.err


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return train(tmp_path_factory.mktemp("clips"), "clips", "data.source.labels=true", "conditional=true")


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    return train(tmp_path_factory.mktemp("audio"), "tones", "data.source.rate=8000", "data.source.channels=2")


def written(folder):
    return sorted(path.name for path in (folder / "samples").iterdir())


def test_a_run_of_clips(clips):
    workdir, err = clips
    grids = ["reals", "step_00000000", "step_00000002", "step_00000004"]
    assert written(workdir) == sorted(f"{grid}{ending}" for grid in grids for ending in (".gif", ".png"))
    for name in ("reals", "step_00000004"):
        with Image.open(workdir / "samples" / f"{name}.gif") as gif:
            assert gif.n_frames == 10
        assert (workdir / "samples" / f"{name}.gif").stat().st_size < 3_000_000
    with Image.open(workdir / "samples.gif") as gif, Image.open(workdir / "samples/step_00000004.png") as grid:
        assert (gif.n_frames, gif.size) == (3, grid.size)
    strips = (
        "each strip of frames, or of slices, is one sample; each 3 rows are one class, from the top: right, down"
    )
    assert f"samples/step_00000004.png ({strips})\n" in err
    assert "samples/step_00000004.gif (each column is one class, from the left: right, down)\n" in err
    assert "samples/reals.gif (each " in err
    page = (workdir / "report.html").read_text()
    shown = ["samples/reals.png", "samples/reals.gif", "samples/step_00000004.png", "samples/step_00000004.gif"]
    assert re.findall('<img src="(.*?)"', page) == [*shown, "samples.gif"]
    assert "<audio" not in page


def test_a_run_of_audio(audio):
    workdir, err = audio
    grids = ["reals", "step_00000000", "step_00000002", "step_00000004"]
    endings = [".png", *(f"_{index}.wav" for index in range(4))]
    assert written(workdir) == sorted(f"{grid}{ending}" for grid in grids for ending in endings)
    with wave.open(str(workdir / "samples/reals_1.wav")) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (8000, 1024, 2)
        values = np.frombuffer(file.readframes(1024), "<i2").reshape(-1, 2) / 32767
    time = np.arange(1024) / 256
    np.testing.assert_allclose(values[:, 1], 0.5 * np.sin(2 * np.pi * 32 * time), atol=1e-4)
    page = (workdir / "report.html").read_text()
    sounds = re.findall('<audio controls preload="metadata" src="(.*?)"', page)
    assert sounds == [f"samples/{grid}_{index}.wav" for grid in ("reals", "step_00000004") for index in range(4)]
    assert "samples/step_00000004.png (each sample is a spectrogram above its waveform: -80 to 0 dB, " in err
    assert "note: " not in err
    with Image.open(workdir / "samples.gif") as gif:
        assert gif.n_frames == 3


def test_audio_without_a_rate_is_said_before_training():
    config = configs.Config("tones", data=configs.Data(configs.Call("small_sets:tones")))
    said = "note: the data do not say their rate: WAV files get 16,000 samples a second; data.source.rate says it"
    assert said in notes(config, Declared.of(small_sets.tones()))
    assert said not in notes(config, Declared.of(small_sets.tones(rate=8000)))
    content = files_beside("a.png", small_sets.tones().image, None, None)["a_3.wav"]
    with wave.open(io.BytesIO(content)) as file:
        assert file.getframerate() == 16_000


@pytest.mark.slow
def test_a_resumed_run_has_the_same_samples(audio, tmp_path):
    """The sounds of later steps, which a killed process wrote, are removed."""
    rate = ["data.source.rate=8000", "data.source.channels=2"]
    workdir, _ = train(tmp_path, "tones", *rate, "steps=2")
    (workdir / "samples/step_00000003_0.wav").touch()
    train(tmp_path, "tones", *rate)
    assert runs.files(workdir / "samples") == runs.files(audio[0] / "samples")


@pytest.mark.slow
def test_samples_of_clips(clips, tmp_path):
    def sample(*words):
        outcome = call("sample", clips[0], "--allow", "small_sets", "--count", 3, *words)
        assert outcome.code == 0, outcome.err
        return outcome

    assert sample("--out", tmp_path / "each").out == f"3 clips in {tmp_path}/each, in a folder for each class\n"
    found = sorted(path.relative_to(tmp_path / "each").as_posix() for path in (tmp_path / "each").rglob("*.*"))
    assert found == ["down/00000.gif", "right/00000.gif", "right/00001.gif"]
    with Image.open(tmp_path / "each/down/00000.gif") as gif:
        assert (gif.n_frames, gif.size) == (10, (12 * 22, 8 * 22))
    assert sample("--out", tmp_path / "a.gif").err == "each column is one class, from the left: right, down\n"
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 10
    sample("--out", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert (arrays["image"].shape, arrays["image"].dtype) == ((3, 10, 8, 12, 1), np.uint8)
    sample("--out", tmp_path / "a.png")
    sample("--interpolate", 2, "--out", tmp_path / "walk.gif")
    with Image.open(tmp_path / "walk.gif") as gif:
        assert gif.n_frames == 6
    sentence(call("sample", clips[0], "--out", tmp_path / "a.wav"), "are not written as .wav")
    sentence(call("sample", clips[0], "--neighbours", 1), "samples of shape (10, 8, 12, 1) are no images")


def test_samples_of_audio(audio, tmp_path):
    outcome = call("sample", audio[0], "--count", 3, "--out", tmp_path / "each")
    assert outcome.out == f"3 sounds in {tmp_path}/each\n"
    assert call("sample", audio[0], "--count", 3, "--out", tmp_path / "a.npz").code == 0
    assert call("sample", audio[0], "--count", 3, "--out", tmp_path / "a.wav").code == 0
    with np.load(tmp_path / "a.npz") as arrays:
        samples = arrays["image"]
    assert (samples.shape, samples.dtype) == ((3, 1024, 2), np.float32)
    with wave.open(str(tmp_path / "each/00001.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (8000, 1024)
        one = file.readframes(1024)
    np.testing.assert_allclose(np.frombuffer(one, "<i2").reshape(-1, 2) / 32767, samples[1], atol=2e-5)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getnframes() == 3 * 1024
        assert file.readframes(3 * 1024)[len(one) : 2 * len(one)] == one
    sentence(call("sample", audio[0], "--out", tmp_path / "a.gif"), "are not written as .gif")


def test_metrics_of_what_is_no_image_are_refused_before_training(tmp_path):
    config = runs.write_config(tmp_path, runs.MLP)
    words = ["data.source=small_sets:clips", "metrics.every=2", "steps=2"]
    said = "metrics need images, but the data have samples of shape (10, 8, 12, 1): set metrics.every=0"
    sentence(call("train", config, *words, "--workdir", tmp_path / "run"), said)


def test_evaluate_refuses_clips(clips):
    sentence(call("evaluate", clips[0], "--allow", "small_sets", "--features", "fake_features:quarters"), "images")
