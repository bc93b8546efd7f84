"""The frames of animated GIFs, one after another."""

import dataclasses
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import UserError, one_line
from . import decoded
from .containers import Container, Name
from .decode import open_image
from .facts import Facts, Memory, hash_content, read_once
from .images import Transform
from .memory import available_memory_bytes
from .read_images import Images, check_images, common_shape
from .source import checked_indices, hash_parts, reason
from .unchanged import Unchanged
from .waiting import check_stop, each

_FACTS_FORMAT = 2  # raised by every change of `GifFacts`
_DECODED_FORMAT = 1  # raised by every change of how frames are decoded
_MOST_BYTES = 2**31  # of the frames of one file, as they are used


@dataclass(frozen=True)
class GifFacts(Facts):
    """What is known of a GIF; `grey` is whether no frame has colours.

    Attributes:
        frames: their number.
        timed: the number of those that are shown for longer than 0 seconds.
        seconds: how long they are shown, all together.
        uneven: whether some are shown for longer than others.
    """

    frames: int = 0
    timed: int = 0
    seconds: float = 0.0
    uneven: bool = False


def read_gifs(container: Container, names: Sequence[Name], transform: Transform) -> Images:
    """Reads each GIF once. The facts are `GifFacts`, and there are no pixels."""
    from PIL import __version__ as pillow

    memory = Memory(f"Pillow {pillow} GIF {_FACTS_FORMAT}", GifFacts)
    facts = read_once(container, names, memory, lambda name: _examine(container, name))
    broken: list[tuple[Name, Facts]] = [(name, known) for name, known in zip(names, facts) if known.error]
    whole = [(name, known) for name, known in zip(names, facts) if not known.error]
    images = Images([name for name, _ in whole], [known for _, known in whole], None, [], broken)
    check_images(container, images)
    return images


def _examine(container: Container, name: Name) -> GifFacts:
    known = GifFacts()
    try:
        content = container.read(name)
        known, grey, durations = GifFacts(hash_content(content)), True, []
        for frame, duration in _frames(io.BytesIO(content), Transform(), 3):
            check_stop()
            durations.append(duration)
            known = dataclasses.replace(known, height=frame.shape[0], width=frame.shape[1])
            grey = grey and bool((frame == frame[..., :1]).all())
        timed, seconds = sum(duration > 0 for duration in durations), sum(durations)
        known = dataclasses.replace(known, format="GIF", mode="RGB", grey=grey)
        uneven = len(set(durations)) > 1
        return dataclasses.replace(known, frames=len(durations), timed=timed, seconds=seconds, uneven=uneven)
    except Exception as error:  # Pillow's decoders may raise any exception
        return dataclasses.replace(known, error=reason(error) or type(error).__name__)


def _frames(file: Path | BinaryIO, transform: Transform, channels: int) -> Iterator[tuple[np.ndarray, float]]:
    """Yields each frame as it is seen, uint8 [H, W, channels], and how many seconds it is shown."""
    with open_image(file) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            yield transform.apply(image, channels, upright=False), image.info.get("duration", 0) / 1000


class GifFrames:
    """The frames of all GIFs of a set, in order.

    Attributes:
        counts: the number of frames of each file.
        shape: of a frame, (H, W, C).
    """

    def __init__(self, container: Container, images: Images, transform: Transform):
        self._container, self._names, self._transform = container, images.names, transform
        self._digests = [known.digest for known in images.facts]
        self._facts = [known for known in images.facts if isinstance(known, GifFacts)]
        self.counts = [known.frames for known in self._facts]
        self.shape = common_shape(container, images, transform)
        largest = int(np.argmax(self.counts))
        if self.counts[largest] * int(np.prod(self.shape)) > _MOST_BYTES:
            raise UserError(
                f"the {self.counts[largest]:,} frames of '{one_line('/'.join(self._names[largest]))}' do not fit "
                f"in {_MOST_BYTES:,} bytes: pass a smaller data.source.size, or cut it into shorter files"
            )
        self._first = np.concatenate([[0], np.cumsum(self.counts)])
        self._unchanged = Unchanged(container, self._names, self._digests)
        self.pixels = self._keep()

    def rate(self, files: Sequence[int]) -> float | None:
        """Returns the frames in a second of these files, on average; None if they do not say it.

        Frames that are shown for 0 seconds do not count: each viewer shows them for a time of its own.
        """
        seconds = sum(self._facts[file].seconds for file in files)
        return round(sum(self._facts[file].timed for file in files) / seconds, 3) if seconds else None

    def notes(self, files: Sequence[int]) -> list[str]:
        """Returns a note if frames of these files differ in how long they are shown."""
        uneven = [file for file in files if self._facts[file].uneven]
        if not uneven:
            return []
        return [
            f"note: {len(uneven):,} of {len(files):,} GIF{'' if len(files) == 1 else 's'}, such as "
            f"'{one_line('/'.join(self._names[uneven[0]]))}', show some frames for longer than others, but all "
            "frames count alike, so motion in clips may be uneven"
        ]

    def _keep(self) -> np.ndarray | None:
        """Returns all frames, uint8 [F, H, W, C], from the cache if they are there; None: there is no room."""
        from PIL import __version__ as pillow

        key = f"GIF {_DECODED_FORMAT} Pillow {pillow} {self._transform.describe()} {self.shape}"
        digest, shape = hash_parts([key, *self._digests], size=16), (int(self._first[-1]), *self.shape)
        if (ready := decoded.load(digest, shape)) is not None:
            return ready
        store = decoded.Store(shape, available_memory_bytes() // 8)

        def keep(index: int) -> bool:
            # Frame by frame: the videos that all threads decode need not fit in memory.
            return all(store.put(int(self._first[index]) + row, frame) for row, frame in self._decode(index))

        try:
            doing = f"decoding {one_line(self._container.path.name, 30)}"
            is_whole = all(each(keep, range(len(self._names)), len(self._names), doing))
            return store.close(digest, grey=False) if is_whole else None
        finally:
            store.discard()

    def _decode(self, index: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields each frame of one file, and its number. Raises UserError if it cannot be read, or has changed."""
        name, count = self._names[index], 0
        shown = one_line(self._container.path.joinpath(*name))
        try:
            if self._unchanged.is_same(index):
                for frame, _ in _frames(self._container.open(name), self._transform, self.shape[-1]):
                    if count < self.counts[index]:
                        yield count, frame
                    count += 1
        except Exception as error:  # Pillow's decoders may raise any exception
            raise UserError(f"'{shown}' cannot be read: {reason(error)}") from error
        if count != self.counts[index]:
            raise UserError(f"'{shown}' has changed since the run began: do not change files during a run")

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Returns {"image": uint8 [n, H, W, C]}, the frames at `indices`, counted through all files."""
        indices = checked_indices(indices, int(self._first[-1]))
        if self.pixels is not None:
            return {"image": self.pixels[indices]}
        image = np.empty((len(indices), *self.shape), np.uint8)
        files = np.searchsorted(self._first, indices, side="right") - 1
        for file in np.unique(files):  # each is decoded once
            for number, frame in self._decode(int(file)):
                image[indices == self._first[file] + number] = frame
        return {"image": image}

    def fingerprint(self) -> str:
        return hash_parts([*self._digests, str(self.shape), self._transform.describe()])
