"""A source of clips of videos: animated GIFs, or folders of numbered frames, in a folder or zip file."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np

from ..errors import UserError, one_line
from .containers import Container, Name, open_container
from .decode import Range, quiet_pillow
from .file_kinds import describe_left_out, is_named_image, sort_out
from .folder import Folder
from .gif_frames import GifFrames, read_gifs
from .image_set import Layout, choose_split, classes_by_folder, natural
from .images import Channels, Crop, Filter, Size, Transform
from .ranges import range_notes
from .read_images import Images, check_images, common_shape, read_images, room_note
from .source import Mirrored, Source, check_rate, checked_indices, describe_shape, expand_path, hash_parts

_LISTED = 5  # videos in one message
_MOST = 2**20  # frames in a clip, and steps between frames


Kind = Literal["gif", "frames"]


class Frames(Protocol):
    """The frames of all videos, one after another; `shape` is (H, W, C)."""

    shape: tuple[int, int, int]

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]: ...
    def fingerprint(self) -> str: ...


def video(
    path: str,
    frames: int = 16,
    stride: int | None = None,
    every: int = 1,
    labels: bool = True,
    split: str | None = None,
    size: Size | None = None,
    crop: Crop = "center",
    filter: Filter = "lanczos",
    channels: Channels | None = None,
    range: Range | None = None,
    mirror: bool = False,
    kind: Kind | None = None,
    rate: float | None = None,
) -> Source:
    """Returns a source of clips [T, H, W, C], uint8, of the videos in a folder or zip file.

    A video is an animated GIF (`.gif`, at any depth), or a folder of images, its frames, in the natural order of
    their names (2 before 10). Where there are both, `kind` says which are read: "gif" or "frames". All frames
    count alike, however long they are shown; a note says where that differs inside a GIF. Clips of `frames` frames
    are cut one after another from the beginning of each video; `stride` is the number of frames from the start of
    a clip to that of the next. `every=2` takes each second frame. The rest at the end of a video, and videos
    shorter than a clip, are left out, and counted in a note.

    `labels` and `split` are those of `folder`: the topmost sub-folder of a video is its class. All frames must
    have the same size, or `size` must be given; `images.Transform` describes it and the options after it. The
    frames are decoded and kept in the user's cache folder, where later runs find them; those of GIFs are decoded
    once more before, to check them. `rate` is the number of frames of the videos in a second, before `every`, for
    sample grids; GIFs say it themselves, and `rate` overrides that. Raises UserError if files cannot be read (it
    names them), all videos are too short, or there are both kinds of videos and no `kind`.
    """
    for name, value in (("frames", frames), ("every", every), ("stride", 1 if stride is None else stride)):
        if not 1 <= value <= _MOST:
            raise UserError(f"{name} must be 1 to {_MOST:,}, not {value:,}")
    check_rate(rate)
    transform = Transform(size, crop, filter, channels, range)
    container = open_container(expand_path(path))
    quiet_pillow()
    names, unfinished = sort_out(container.names())
    chosen, others, kind = _choose_kind(container, names, kind)
    find = _find_gifs if kind == "gif" else _find_folders
    found = find(container, chosen, split, transform)
    left_out = [(name, "an unfinished download") for name in unfinished]
    left_out += [*((name, "") for name in others), *found.images.others]
    notes = [*found.layout.notes, *describe_left_out(left_out, "frames"), *room_note(found.images)]
    notes += range_notes([known.values for known in found.images.facts], transform)
    layout = Layout(found.layout.names, notes=notes, depth=found.layout.depth)
    step = every * frames if stride is None else stride
    clips = Clips(container, layout, found.content, found.counts, frames, step, every, labels, rate)
    return Mirrored(clips) if mirror else clips


def _choose_kind(
    container: Container, names: Sequence[Name], kind: Kind | None
) -> tuple[list[Name], list[Name], Kind]:
    """Returns the files that are read, those that are of the other kind, and the kind that is read."""
    gifs = [name for name in names if name[-1].lower().endswith(".gif")]
    rest = [name for name in names if not name[-1].lower().endswith(".gif")]
    frames = [name for name in rest if is_named_image(name)]
    shown = one_line(container.path)
    if kind == "gif" and not gifs:
        raise UserError(f"there are no GIFs under '{shown}': leave out data.source.kind=gif")
    if kind is None and gifs and frames:
        folders = len({name[:-1] for name in frames})
        raise UserError(
            f"'{shown}' holds {len(gifs):,} GIF{'' if len(gifs) == 1 else 's'} and {len(frames):,} other "
            f"image{'' if len(frames) == 1 else 's'} in {folders:,} folder{'' if folders == 1 else 's'}, and "
            "either kind may be the videos: pass data.source.kind=gif or data.source.kind=frames, or move one "
            "kind away"
        )
    if kind == "gif" or (kind is None and gifs):
        return gifs, rest, "gif"
    return rest, gifs, "frames"


class _Found(NamedTuple):
    """The videos of a set: their names, their files, their frames, and the number of frames of each."""

    layout: Layout
    images: Images
    content: Frames
    counts: list[int]


def _find_gifs(container: Container, names: Sequence[Name], split: str | None, transform: Transform) -> _Found:
    chosen = choose_split(container, names, split, lambda _: True)
    images = read_gifs(container, chosen.names, transform)
    content = GifFrames(container, images, transform)
    images.pixels = content.pixels
    return _Found(chosen, images, content, content.counts)


def _find_folders(container: Container, names: Sequence[Name], split: str | None, transform: Transform) -> _Found:
    def folder_of(name: Name) -> Name:
        return name[:-1] or (container.path.stem,)

    chosen = choose_split(container, sorted(set(map(folder_of, names))), split, lambda _: True)
    wanted = set(chosen.names)
    inside = [name for name in names if folder_of(name) in wanted]
    inside.sort(key=lambda name: (folder_of(name), natural(name[-1])))
    images = read_images(container, inside, transform, decode=True)
    check_images(container, images)
    shape = common_shape(container, images, transform)
    content = Folder(container, Layout(images.names), images.facts, transform, shape, images.pixels)
    counts = Counter(map(folder_of, images.names))
    return _Found(
        Layout(list(counts), notes=chosen.notes, depth=chosen.depth), images, content, list(counts.values())
    )


class Clips:
    """A source of clips; `video` makes it.

    Args:
        container: where the videos are.
        layout: the names of the videos.
        content: their frames.
        counts: the number of frames of each video.
        frames, stride, every, labels, rate: as for `video`.

    Attributes:
        label: int32 `[N]`, or None.
        rate: frames of a clip in a second, as it is given, or as the GIFs that give clips say it; else None. It is
            for sample grids.

    Raises:
        UserError: all videos are too short, or only some are in folders.
    """

    def __init__(
        self,
        container: Container,
        layout: Layout,
        content: Frames,
        counts: Sequence[int],
        frames: int,
        stride: int,
        every: int,
        labels: bool,
        rate: float | None = None,
    ):
        self._content = content
        self.shape, self.dtype = (frames, *content.shape), np.dtype(np.uint8)
        self._steps = every * np.arange(frames)
        span = int(self._steps[-1]) + 1
        long = [index for index, count in enumerate(counts) if count >= span]
        short = [name for name, count in zip(layout.names, counts) if count < span]
        if not long:
            shown = one_line(container.path)
            raise UserError(
                f"all videos under '{shown}' are shorter than a clip of {span:,} frames: the longest has "
                f"{max(counts):,}; pass a smaller data.source.frames"
            )
        if rate is None and isinstance(content, GifFrames):
            rate = content.rate(long)
        self.rate = None if rate is None else rate / every
        kept = classes_by_folder(container, layout, "videos", long) if labels else layout
        first = np.concatenate([[0], np.cumsum(counts)])
        starts = [np.arange(first[index], first[index] + counts[index] - span + 1, stride) for index in long]
        self._starts = np.concatenate(starts)
        self.class_names = kept.class_names
        self.classes = None if kept.class_names is None else len(kept.class_names)
        self.label = None if kept.label is None else np.repeat(kept.label, [len(some) for some in starts])
        used = len(np.unique((self._starts[:, None] + np.arange(span)).ravel()))
        timing = content.notes(long) if isinstance(content, GifFrames) else []
        cut = _describe(counts, len(long), used, self.shape[0], stride, every, short)
        self._notes = [*kept.notes, *timing, cut]

    def __len__(self) -> int:
        return len(self._starts)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = checked_indices(indices, len(self))
        frames = self._starts[indices][:, None] + self._steps  # [n, T]
        rows = {"image": self._content.read(frames.ravel())["image"].reshape(len(indices), *self.shape)}
        if self.label is not None:
            rows["label"] = self.label[indices]
        return rows

    def notes(self) -> list[str]:
        return self._notes

    def fingerprint(self) -> str:
        arrays = [self._starts, self._steps, *([] if self.label is None else [self.label, np.array(self.classes)])]
        content_hash = hash_parts([self._content.fingerprint(), *(array.tobytes() for array in arrays)])
        return f"video n={len(self)} {describe_shape(self.shape)} #{content_hash}"


def _describe(
    counts: Sequence[int], long: int, used: int, frames: int, stride: int, every: int, short: Sequence[Name]
) -> str:
    """Returns a line on how clips are cut, and what is left out."""
    total = sum(counts)
    text = f"note: {long:,} video{'' if long == 1 else 's'} of {len(counts):,}, {total:,} frames in all, "
    text += f"give clips of {frames:,} frame{'' if frames == 1 else 's'}"
    text += f" at steps of {every}" if every > 1 else ""
    text += (
        ", one after another"
        if stride == every * frames
        else f", a new one every {stride:,} frame{'' if stride == 1 else 's'}"
    )
    text += f"; {1 - used / total:.1%} of the frames are left out" if used < total else ""
    if short:
        listed = ", ".join(one_line("/".join(name)) for name in short[:_LISTED])
        more = f", {len(short) - _LISTED:,} more" if len(short) > _LISTED else ""
        text += f"; videos shorter than a clip are left out ({listed}{more})"
    return text
