"""GIFs of sample grids and of clips, of a size that a person can send and a page can show."""

import io
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.decode import open_image
from ..errors import first_line, one_line
from ..files.folder import write_atomically

if TYPE_CHECKING:
    from PIL import Image

MOST_BYTES = 3_000_000
_FEWEST = 12  # frames, below which images are made smaller instead
_MOST_OF_CLIP = 120  # frames
_UNIT = 10  # milliseconds, in which a GIF counts
_SHORTEST, _LONGEST = 2, 65_535  # units that a frame is shown; browsers show a shorter one for 100 ms


def save_gif(
    path: str | Path,
    png_paths: Sequence[str | Path],
    seconds_per_frame: float = 0.2,
    most: int = 60,
    most_bytes: int = MOST_BYTES,
) -> list[str]:
    """Writes a GIF of PNG files that loops and holds its last frame, in one rename; creates the folder.

    Frames that differ in size from the last one, or cannot be read, are left out. All frames share one palette, or
    the GIF would flicker. A GIF that is too large gets fewer frames, at even distances and with the last one, and
    then smaller ones.

    Args:
        png_paths: the frames in order. The last one must be an image.
        most: the largest number of frames. Of more files, this many are taken at even distances.
        most_bytes: the largest size of the GIF.

    Returns:
        The name of each file that cannot be a frame, and the reason.

    Raises:
        ValueError: there are no frames.
    """
    if not png_paths:
        raise ValueError("a GIF needs at least one frame")
    frames, left_out = _frames([Path(path) for path in _evenly(png_paths, most)])
    duration = round(1000 * seconds_per_frame)
    durations = [duration] * (len(frames) - 1) + [max(2000, duration)]
    write_atomically(Path(path), _bounded(frames, durations, _FEWEST, most_bytes), sync=False)
    return left_out


def choose_frames(count: int, rate: float) -> tuple[list[int], list[int]]:
    """Returns the numbers of the frames of a clip that its GIF shows, and for how many milliseconds each.

    They are at most 120, and 50 a second, at even distances. The durations are multiples of 10 ms, at most
    655,350 ms, and their sum is nearest to the length of the clip.

    Args:
        count: of the frames of the clip.
        rate: frames a second.
    """
    units = 1000 / _UNIT * count / rate  # of the whole clip
    chosen = _evenly(range(count), max(1, int(min(count, _MOST_OF_CLIP, units / _SHORTEST))))
    shown = len(chosen)
    ends = np.round(np.arange(shown + 1) * min(units / shown, 2.0 * _LONGEST))  # a rate near 0 would overflow
    return chosen, [_UNIT * int(duration) for duration in np.clip(np.diff(ends), _SHORTEST, _LONGEST)]


def clip_gif(frames: Sequence[np.ndarray], durations: Sequence[int], most_bytes: int = MOST_BYTES) -> bytes:
    """Returns the content of a GIF that plays frames, uint8 `[H, W, 3]`, again and again.

    A GIF that is too large gets smaller frames.

    Args:
        durations: milliseconds of each frame, see `choose_frames`.
        most_bytes: the largest size of the GIF.
    """
    from PIL import Image

    return _bounded([Image.fromarray(frame) for frame in frames], durations, len(frames), most_bytes)


def _bounded(frames: list["Image.Image"], durations: Sequence[int], fewest: int, most_bytes: int) -> bytes:
    """Encodes frames, first with fewer of them, but not below `fewest`, and then smaller ones, until they fit.

    `durations`: milliseconds of each frame. Those of all but the last are equal where frames may be left out.
    """
    content = _encode(frames, durations)
    while len(content) > most_bytes and min(frames[0].size) > 1:
        share = 0.9 * most_bytes / len(content)  # a little less than what would fit, so that few rounds are needed
        if len(frames) > fewest:
            frames = _evenly(frames, max(fewest, int(share * len(frames))))
            durations = [*durations[: len(frames) - 1], durations[-1]]
        else:
            width, height = (max(1, int(side * math.sqrt(share))) for side in frames[0].size)
            frames = [frame.resize((width, height)) for frame in frames]
        content = _encode(frames, durations)
    return content


def _evenly(items: Sequence | np.ndarray, most: int) -> list:
    """Returns at most `most` of the items at even distances, the last one among them."""
    if most == 1:
        return [items[-1]]
    chosen = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    return [items[index] for index in chosen]


def _encode(frames: Sequence["Image.Image"], durations: Sequence[int]) -> bytes:
    from PIL import Image

    palette = _palette(frames)
    shown: list[tuple[Image.Image, int]] = []
    for frame, duration in zip(frames, durations, strict=True):
        colours = frame.quantize(palette=palette, dither=Image.Dither.NONE)
        if shown and colours.tobytes() == shown[-1][0].tobytes():  # Pillow would add durations beyond the longest
            shown[-1] = (colours, min(shown[-1][1] + duration, _UNIT * _LONGEST))
        else:
            shown.append((colours, duration))
    (first, *rest), each = zip(*shown)
    duration = list(each) if rest else each[0]
    content = io.BytesIO()
    first.save(content, "GIF", save_all=True, append_images=rest, duration=duration, loop=0, optimize=False)
    return content.getvalue()


def _frames(paths: Sequence[Path]) -> tuple[list["Image.Image"], list[str]]:
    """Decodes the files that are images of the size of the last one. Returns them, and why others are left out."""
    frames, left_out = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about an image that is not decoded
        with open_image(paths[-1], sys.maxsize) as last:
            width, height = last.size
        for path in paths:
            try:
                with open_image(path, width * height) as image:
                    if image.size != (width, height):
                        raise ValueError(f"it is not of {width} x {height} pixels")
                    frames.append(image.convert("RGB"))
            except Exception as error:  # Pillow may raise any exception for damaged bytes
                left_out.append(one_line(f"{path.name} ({first_line(error)})"))
    return frames, left_out


def _palette(frames: Sequence["Image.Image"]) -> "Image.Image":
    """Returns one palette for all frames, from a sample of their pixels."""
    from PIL import Image

    width, height = frames[0].size
    stride = math.ceil(math.sqrt(len(frames) * width * height / 2_000_000))  # enough for 256 colours
    sample = np.concatenate([np.asarray(frame)[::stride, ::stride] for frame in frames])
    return Image.fromarray(sample).quantize(256)
