"""How samples that are no images are shown: film strips, GIFs that play, spectrograms and WAV files."""

import io
import wave

import numpy as np
import pytest
from PIL import Image, ImageSequence

import small_sets
from gan_jax import report
from gan_jax.data.source import Mirrored, rate
from gan_jax.report import sample_files, spectrogram, strip
from gan_jax.report.colours import INK
from gan_jax.report.gif import choose_frames, clip_gif
from gan_jax.report.layout import choose_layout
from gan_jax.report.legends import make_legends
from gan_jax.report.reals import write_reals
from gan_jax.report.view import choose_view, view_notes
from gan_jax.report.wav import wav_bytes


@pytest.mark.parametrize(
    ("shape", "kind", "suffix"),
    [
        ((2,), "points", None),
        ((7,), "vectors", None),
        ((2, 2, 2, 2, 2), "vectors", None),
        ((16_000, 1), "audio", ".wav"),
        ((5, 2), "audio", ".wav"),
        ((8, 8), "images", ".png"),
        ((8, 6, 3), "images", ".png"),
        ((8, 6, 2), "images", ".png"),
        ((9, 8, 6, 1), "clips", ".gif"),
        ((1, 8, 6, 3), "clips", ".gif"),
    ],
)
def test_the_shape_decides_and_cells_have_the_size_that_it_says(shape, kind, suffix):
    view = choose_view(shape)
    assert (view.kind, view.suffix) == (kind, suffix)
    if view.size is not None:
        cells = view.cells(np.zeros((3, *shape), np.float32))
        assert (cells.shape[:3], cells.dtype) == ((3, *view.size), np.uint8)


# ---- clips


def test_a_strip_has_eight_frames_at_even_distances_with_the_first_and_the_last():
    np.testing.assert_array_equal(strip.chosen_frames(15), range(0, 15, 2))
    np.testing.assert_array_equal(strip.chosen_frames(3), [0, 1, 2])
    clips = np.arange(15, dtype=np.uint8)[None, :, None, None, None] * np.ones((2, 1, 3, 4, 1), np.uint8)
    clips[1] += 100
    cells = strip.cells(clips)
    assert cells.shape == (2, 3, 8 * 4 + 7, 3)
    for place, frame in enumerate(range(0, 15, 2)):
        assert (cells[0, :, 5 * place : 5 * place + 4] == frame).all()
        assert (cells[1, :, 5 * place : 5 * place + 4] == 100 + frame).all()
    assert (cells[:, :, 4::5] == INK).all()
    missing = np.full((1, 15, 3, 4, 1), 255, np.uint8)
    assert (strip.cells(missing) == 255).all()


def frames_of(content):
    with Image.open(io.BytesIO(content)) as gif:
        frames = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(gif)]
        durations = []
        for index in range(len(frames)):
            gif.seek(index)
            durations.append(gif.info["duration"])
        return frames, durations, gif.info["loop"]


def test_the_clips_beside_a_grid_play():
    clips = small_sets.clips(count=4).image
    files = sample_files.files_beside("samples/step_00000002.png", clips, None, None)
    frames, durations, loop = frames_of(files.pop("samples/step_00000002.gif"))
    assert not files
    assert (len(frames), durations, loop) == (10, [100] * 10, 0)
    for time, frame in enumerate(frames):
        np.testing.assert_allclose(frame, report.grid(clips[:, time]), atol=8)  # of 256 colours
    one = frames_of(sample_files.file_of(clips[0], 25))
    assert [frame.shape for frame in one[0]] == [(22 * 8, 22 * 12, 3)] * 10  # at least 256 pixels
    assert one[1] == [40] * 10


def test_a_gif_of_clips_that_is_too_large_keeps_its_frames_and_its_speed():
    frames = np.random.default_rng(0).integers(0, 256, (140, 24, 32, 3), np.uint8)
    chosen, durations = choose_frames(len(frames), 20)
    content = clip_gif(frames[chosen], durations, most_bytes=150_000)
    assert len(content) < 150_000
    shown, found, _ = frames_of(content)
    assert (len(shown), found, sum(found)) == (120, durations, 7000)
    assert shown[0].shape[1] / shown[0].shape[0] == pytest.approx(32 / 24, rel=0.1)


@pytest.mark.parametrize(
    ("count", "rate", "shown"),
    [(30, 30, 30), (16, 24, 16), (16, 7, 16), (16, 59.94, 13), (1, 60, 1), (300, 30, 120), (2, 0.01, 2)],
)
def test_the_frames_of_a_gif_last_as_long_as_the_clip(count, rate, shown):
    chosen, durations = choose_frames(count, rate)
    assert (len(chosen), chosen[-1]) == (shown, count - 1)
    assert min(durations) >= 20
    assert sum(durations) == pytest.approx(1000 * count / rate, abs=5.001)
    frames = np.arange(shown, dtype=np.uint8)[:, None, None, None] * np.ones((4, 4, 3), np.uint8)
    assert sum(frames_of(clip_gif(frames, durations))[1]) == sum(durations)


def test_the_longest_duration_of_a_frame_is_that_of_the_format():
    clips = np.zeros((1, 3, 4, 4, 1), np.uint8)
    clips[0, 2] = 255
    for slow in (0.001, 1e-300):
        assert choose_frames(3, slow)[1] == [655_350] * 3
        assert frames_of(sample_files.clips(clips, slow))[1] == [655_350] * 2  # two equal frames are one


def test_only_frames_that_are_shown_are_drawn(monkeypatch):
    drawn = []
    monkeypatch.setattr(sample_files, "grid", lambda images, **_: drawn.append(images) or report.grid(images))
    sample_files.clips(np.zeros((1, 400, 4, 4, 1), np.uint8), 25)
    assert len(drawn) == 120


def test_the_grids_of_clips_are_of_a_sensible_size():
    for shape in ((16, 64, 64, 3), (64, 128, 128, 3), (8, 8, 8, 1), (300, 36, 64, 1)):
        view = choose_view(shape)
        assert view.size is not None
        assert view.most is not None
        count = min(64, view.most)
        layout = choose_layout(count, *view.size)
        height, width = layout.rows * view.size[0], layout.columns * view.size[1]
        assert height * width < 1500**2 * 1.3
        assert max(height, width) / min(height, width) < 2.5


def test_reals_of_clips_with_classes(tmp_path):
    source = small_sets.clips(count=6, labels=True)
    write_reals(tmp_path, source)
    with Image.open(tmp_path / "samples/reals.gif") as gif:
        assert gif.n_frames == 10
    legends = make_legends(source, True, 8)
    assert set(legends) == {"reals", "reals.gif", "samples", "samples.gif"}
    assert legends["samples"].startswith("each strip of frames, or of slices, is one sample; each ")
    assert legends["samples.gif"] == "each column is one class, from the left: right, down"
    assert not (tmp_path / "samples/reals_0.wav").exists()


# ---- audio


@pytest.mark.parametrize("bin_of_sine", [1, 5, 63])
def test_a_sine_lands_in_its_bin(bin_of_sine):
    """Hann's window is 1/2 - cos/2: a sine of amplitude a is a in its bin, a / 2 beside it, and 0 elsewhere."""
    time, window = np.arange(1000), 128
    values = spectrogram.decibels(0.5 * np.sin(2 * np.pi * bin_of_sine * time / window + 1), window, 50)
    assert values.shape == ((1000 - 128) // 50 + 1, 65)
    half = -20 * np.log10(2)
    if bin_of_sine == 5:
        np.testing.assert_allclose(values[:, 5], half, atol=1e-9)
        np.testing.assert_allclose(values[:, [4, 6]], 2 * half, atol=1e-9)
        assert (np.delete(values, [4, 5, 6], axis=1) < -180).all()
    else:  # near to 0 and to the half of the rate, the sine of the negative frequency adds
        assert (values.argmax(axis=1) == bin_of_sine).all()


def test_a_cell_of_audio_has_the_sine_at_its_height_above_the_waveform():
    audio = small_sets.tones(count=2, length=4096, channels=2).image
    cells = spectrogram.cells(audio)
    assert cells.shape == (2, 2 * (128 + 32), 192, 3)
    for sample in range(2):
        for channel in range(2):
            cell = cells[sample, 160 * channel : 160 * (channel + 1)].astype(int)
            frequency = 8 * (sample + 1) * (channel + 1) / 128  # as a share of half the rate
            brightest = cell[:128, 96].sum(axis=-1).argmax()
            assert brightest == pytest.approx(127 - 128 * frequency, abs=1.5)
            ink = np.flatnonzero((cell[128:] != 255).any(axis=(1, 2)))
            assert (ink[0], ink[-1]) == (8, 23)  # +-0.5 of 32 rows
    silent = spectrogram.cells(np.full((1, 3, 1), np.nan))  # shorter than a window, and not finite
    assert (silent[0, 30:128] == 0).all()


def test_a_wav_file_is_read_back():
    audio = np.array([[0.0, 1.0], [-1.0, 3.0], [0.5, np.nan]])
    with wave.open(io.BytesIO(wav_bytes(audio, 22_050.0))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()) == (
            2,
            2,
            22_050,
            3,
        )
        values = np.frombuffer(file.readframes(3), "<i2").reshape(3, 2)
    np.testing.assert_array_equal(values, [[0, 32767], [-32767, 32767], [16384, 0]])


def test_what_may_surprise_is_said():
    assert view_notes((64, 64, 3), None, 1000) == []
    assert view_notes((16_000, 1), 8000.0, 16) == []
    assert view_notes((16_000, 1), None, 16) == [
        "note: the data do not say their rate: WAV files get 16,000 samples a second; data.source.rate says it"
    ]
    assert view_notes((16, 256, 256, 3), None, 64) == [
        "note: sample.count=64, and a grid of such samples shows the first 4"
    ]
    clips = choose_view((16, 32, 32, 1))
    assert [clips.shown(*counts) for counts in ((8, 10), (64, None), (64, 10), (64, 1000))] == [8, 32, 30, 32]


def test_mirrored_clips_keep_their_rate():
    clips = small_sets.clips(count=2)
    clips.rate = 25
    assert rate(Mirrored(clips)) == 25
    clips.rate = None
    assert rate(Mirrored(clips)) is None


def test_the_names_of_files_in_samples():
    assert sample_files.step_of("samples/step_00000300_3.wav") == 300
    assert sample_files.step_of("samples/step_123456789.gif") == 123_456_789
    for name in ("step_mine.png", "reals_0.wav", "step_00000300.txt", "step_00000300_3.png", "my_step_1.png"):
        assert sample_files.step_of(name) is None
    claimed = [
        "reals.png",
        "reals.gif",
        "reals_0.wav",
        "step_00000300.png",
        "step_00000300_0.wav",
        "step_mine.png",
    ]
    assert all(map(sample_files.is_claimed, claimed))
    assert not any(map(sample_files.is_claimed, ["mine.png", "reals.wav", "reals_0.png.bak", "steps.gif"]))
