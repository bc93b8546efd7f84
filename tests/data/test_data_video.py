"""Clips of GIFs and of numbered frames that the tests write."""

import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from gan_jax.data import Loader, Mirrored, Source, read_all
from gan_jax.data.folder import folder
from gan_jax.data.loader import read_resident
from gan_jax.data.source import rate
from gan_jax.data.video import video
from gan_jax.errors import UserError

RNG = np.random.default_rng(5)


def noise(count, height=6, width=8, channels=3):
    """Returns frames [T, H, W, C] of few colours, which a GIF holds exactly."""
    return RNG.choice(np.array([0, 90, 255], np.uint8), (count, height, width, channels))


def write_gif(path, frames, duration=50):
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(frame.squeeze()) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=duration)
    return frames


def write_frames(folder, frames):
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames, 8):  # 9 comes before 10
        Image.fromarray(frame.squeeze()).save(folder / f"f{number}.png")
    return frames


WRITERS = {"GIFs": lambda path, frames: write_gif(path.with_suffix(".gif"), frames), "folders": write_frames}


def refusal(path, **options):
    with pytest.raises(UserError) as error:
        video(str(path), **{"frames": 4, **options})
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(params=["cache", "no cache", "no room"])
def room(request, tmp_path, monkeypatch):
    """Frames are kept in a cache folder, in memory, or nowhere."""
    if request.param == "cache":
        monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    if request.param == "no room":
        for module in ("gif_frames", "read_images"):
            monkeypatch.setattr(f"gan_jax.data.{module}.available_memory_bytes", lambda: 0)
    return request.param


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_clips_are_cut_one_after_another(tmp_path, kind, channels, room):
    first, second = noise(10, channels=channels), noise(5, channels=channels)
    WRITERS[kind](tmp_path / "set/a", first)
    WRITERS[kind](tmp_path / "set/b", second)
    WRITERS[kind](tmp_path / "set/c", noise(3, channels=channels))
    source = video(str(tmp_path / "set"), frames=4)
    assert isinstance(source, Source)
    assert (len(source), source.shape, source.dtype, source.classes) == (3, (4, 6, 8, channels), np.uint8, None)
    expected = np.stack([first[:4], first[4:8], second[:4]])
    np.testing.assert_array_equal(read_all(source)["image"], expected)
    np.testing.assert_array_equal(source.read(np.array([2, 0, 2]))["image"], expected[[2, 0, 2]])
    name = "c.gif" if kind == "GIFs" else "c"
    assert source.notes()[-1] == (
        "note: 2 videos of 3, 18 frames in all, give clips of 4 frames, one after another; 33.3% of the frames "
        f"are left out; videos shorter than a clip are left out ({name})"
    )
    assert any("no room" in note for note in source.notes()) == (room == "no room")
    again = video(str(tmp_path / "set"), frames=4)
    assert again.fingerprint() == source.fingerprint()
    np.testing.assert_array_equal(read_all(again)["image"], expected)
    with pytest.raises(IndexError):
        source.read(np.array([3]))


@pytest.mark.parametrize("kind", WRITERS)
def test_stride_and_every(tmp_path, kind):
    frames = noise(9)
    WRITERS[kind](tmp_path / "a", frames)
    source = video(str(tmp_path), frames=3, every=2, stride=1)
    expected = np.stack([frames[start : start + 5 : 2] for start in range(5)])
    np.testing.assert_array_equal(read_all(source)["image"], expected)
    assert source.notes()[-1].endswith("give clips of 3 frames at steps of 2, a new one every 1 frame")
    (note,) = video(str(tmp_path), frames=1).notes()
    assert note.endswith("give clips of 1 frame, one after another")
    prints = {
        video(str(tmp_path), frames=3, **options).fingerprint() for options in ({}, {"every": 2}, {"stride": 1})
    }
    assert len(prints) == 3


@pytest.mark.parametrize("kind", WRITERS)
def test_classes_splits_zip_files_and_mirror(tmp_path, kind):
    for number, name in enumerate(("train/walk", "train/run", "test/walk")):
        WRITERS[kind](tmp_path / "set" / name / "clip 1", noise(4 * (number + 1)))
    source = video(str(tmp_path / "set"), frames=4)
    assert (source.class_names, source.classes, source.label.tolist()) == (("run", "walk"), 2, [0, 0, 1])
    assert read_all(source)["label"].tolist() == [0, 0, 1]
    assert "read as splits: this is train" in source.notes()[0]
    assert len(video(str(tmp_path / "set"), frames=4, split="test")) == 3
    assert video(str(tmp_path / "set"), frames=4, labels=False).fingerprint() != source.fingerprint()
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        for file in sorted(path for path in (tmp_path / "set").rglob("*") if path.is_file()):
            packed.write(file, file.relative_to(tmp_path))
    zipped = video(str(tmp_path / "set.zip"), frames=4)
    assert zipped.fingerprint() == source.fingerprint()
    np.testing.assert_array_equal(read_all(zipped)["image"], read_all(source)["image"])
    both = video(str(tmp_path / "set"), frames=4, mirror=True)
    assert isinstance(both, Mirrored)
    np.testing.assert_array_equal(read_all(both)["image"][3:], read_all(source)["image"][..., ::-1, :])


@pytest.mark.parametrize("kind", WRITERS)
def test_classes_without_a_clip_are_named(tmp_path, kind):
    WRITERS[kind](tmp_path / "walk/deep/1", noise(4))
    WRITERS[kind](tmp_path / "run/1", noise(3))
    source = video(str(tmp_path), frames=4)
    assert (source.class_names, source.classes) == (("walk",), 1)
    assert source.notes()[-2] == "note: the class run has no samples: all its videos are left out"


def test_gifs_say_how_fast_they_are_shown(tmp_path):
    write_gif(tmp_path / "a.gif", noise(8))
    assert video(str(tmp_path), frames=4).rate == 20
    assert video(str(tmp_path), frames=4, every=2, mirror=True).rate == 10
    assert video(str(tmp_path), frames=4, every=2, rate=30).rate == 15
    (note,) = folder(str(tmp_path)).notes()
    assert note == "note: 'a.gif' is animated: its first frame is read; data.source=video reads all frames"


def test_the_rate_is_that_of_timed_frames_that_give_clips(tmp_path):
    write_gif(tmp_path / "a.gif", noise(8), [50] * 4 + [0] * 4)
    write_gif(tmp_path / "short.gif", noise(3), 1000)
    write_gif(tmp_path / "still.gif", noise(1), 5000)
    assert video(str(tmp_path), frames=4).rate == 20
    write_gif(tmp_path / "a.gif", noise(8), 0)
    assert video(str(tmp_path), frames=4).rate is None


def test_durations_that_differ_inside_gifs_are_said(tmp_path):
    write_gif(tmp_path / "a.gif", noise(8))
    write_gif(tmp_path / "b.gif", noise(8), 70)
    write_gif(tmp_path / "short.gif", noise(3), [50, 50, 1000])
    assert len(video(str(tmp_path), frames=4).notes()) == 1
    same = noise(8)
    same[3] = same[2]  # Pillow writes one frame for both
    write_gif(tmp_path / "a.gif", same)
    note, _ = video(str(tmp_path), frames=4).notes()
    assert note == (
        "note: 1 of 2 GIFs, such as 'a.gif', show some frames for longer than others, but all frames count alike, "
        "so motion in clips may be uneven"
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_streamed_and_resident_batches_are_the_same(tmp_path, kind):
    WRITERS[kind](tmp_path / "a", noise(40))
    source = video(str(tmp_path), frames=4, stride=3)
    resident = read_resident(source)["image"]
    with (
        Loader(source, seed=1, batch=3, fuse=2, resident=False) as streamed,
        Loader(source, seed=1, batch=3, fuse=2, resident=True) as indices,
    ):
        for _ in range(4):
            rows = next(streamed)["image"]
            np.testing.assert_array_equal(rows, resident[next(indices)["index"]].reshape(rows.shape))


@pytest.mark.parametrize("kind", WRITERS)
def test_frames_are_resized_as_images_are(tmp_path, kind):
    frames = noise(4)
    WRITERS[kind](tmp_path / "a", frames)
    source = video(str(tmp_path), frames=4, size="3x4", filter="box", channels=1)
    expected = [Image.fromarray(frame).convert("L").resize((4, 3), Image.Resampling.BOX) for frame in frames]
    np.testing.assert_array_equal(
        read_all(source)["image"][0, ..., 0], np.stack([np.asarray(one) for one in expected])
    )
    WRITERS[kind](tmp_path / "b", noise(4, 6, 6))
    assert "differ in size" in (message := refusal(tmp_path))
    assert "pass data.source.size=N" in message


def test_a_rate_is_given_for_folders_of_frames(tmp_path):
    write_frames(tmp_path / "a", noise(8))
    assert rate(video(str(tmp_path), frames=4)) is None
    assert rate(video(str(tmp_path), frames=4, rate=25)) == 25
    assert rate(video(str(tmp_path), frames=4, every=2, mirror=True, rate=25)) == 12.5
    assert "rate must be from 0.01 to 1,000,000,000 a second, not -1" in refusal(tmp_path, rate=-1)


def test_frames_in_the_folder_itself_are_one_video(tmp_path):
    frames = write_frames(tmp_path / "talk", noise(8))
    (tmp_path / "talk/audio.mp3").write_bytes(b"ID3")
    source = video(str(tmp_path / "talk"), frames=4)
    np.testing.assert_array_equal(read_all(source)["image"], frames.reshape(2, 4, 6, 8, 3))
    assert source.notes()[0] == "note: 1 file is not read as frames: audio.mp3"


def test_gifs_beside_frames_are_refused_until_a_kind_is_chosen(tmp_path):
    frames, gif = write_frames(tmp_path / "a", noise(4)), write_gif(tmp_path / "b/stray.gif", noise(8))
    write_frames(tmp_path / "b", frames)
    message = refusal(tmp_path)
    assert "holds 1 GIF and 8 other images in 2 folders, and" in message
    assert message.endswith("pass data.source.kind=gif or data.source.kind=frames, or move one kind away")
    np.testing.assert_array_equal(
        read_all(video(str(tmp_path), frames=4, kind="frames"))["image"], np.stack([frames, frames])
    )
    chosen = video(str(tmp_path), frames=4, kind="gif")
    np.testing.assert_array_equal(read_all(chosen)["image"], gif.reshape(2, 4, *gif.shape[1:]))
    assert chosen.notes()[0].startswith("note: 8 files are not read as frames: a/f10.png")
    (tmp_path / "b/stray.gif").unlink()
    assert len(video(str(tmp_path), frames=4)) == 2
    assert "there are no GIFs under" in refusal(tmp_path, kind="gif")


def test_the_frames_of_videos_are_not_held_in_memory_while_they_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    for name in range(3):
        write_gif(tmp_path / f"set/{name}.gif", noise(32, 64, 64))
    tracemalloc.start()
    source = video(str(tmp_path / "set"), frames=4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(source) == 24
    assert peak < len(source) * 4 * 64 * 64 * 3  # bytes of all videos


def test_what_cannot_be_used_is_named(tmp_path):
    assert "there are no images under" in refusal(tmp_path)
    write_gif(tmp_path / "good.gif", noise(8))
    write_gif(tmp_path / "cut.gif", noise(8, 60, 60))
    content = (tmp_path / "cut.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(content[: len(content) * 7 // 16])  # inside a frame
    (tmp_path / "text.gif").write_text("no video")
    message = refusal(tmp_path)
    assert "2 of the 3 images under" in message
    assert "cut.gif (" in message
    assert "text.gif (" in message
    (tmp_path / "cut.gif").unlink()
    (tmp_path / "text.gif").unlink()
    assert "shorter than a clip of 9 frames: the longest has 8" in refusal(tmp_path, frames=9)
    assert "shorter than a clip of 10 frames" in refusal(tmp_path, every=3)
    for options in ({"frames": 0}, {"every": 0}, {"stride": 0}, {"frames": 2**40}):
        assert "must be 1 to 1,048,576" in refusal(tmp_path, **options)
    write_gif(tmp_path / "walk/other.gif", noise(8))
    assert "holds videos itself ('good.gif') and in sub-folders ('walk')" in refusal(tmp_path)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_changes_during_a_run_is_noticed(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("gan_jax.data.gif_frames.available_memory_bytes", lambda: 0)
    monkeypatch.setattr("gan_jax.data.read_images.available_memory_bytes", lambda: 0)
    WRITERS[kind](tmp_path / "a", noise(8))
    source = video(str(tmp_path), frames=4)
    WRITERS[kind](tmp_path / "a", noise(8))
    with pytest.raises(UserError, match="has changed since the run began"):
        source.read(np.array([1]))
