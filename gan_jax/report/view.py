"""How a sample of a shape is shown: the one place that decides it."""

from typing import Literal, NamedTuple

import numpy as np

from ..pixels import to_uint8
from . import spectrogram, strip

Kind = Literal["points", "vectors", "images", "clips", "audio"]
RATE = 16_000  # samples a second of audio whose data have no `rate`
FRAME_RATE = 10  # frames a second of clips whose data have no `rate`
_SOUNDS, _CLIPS = 16, 32  # the samples in a grid of a run, small enough to be seen at once
_AREA, _LEAST = 1500**2, 4  # pixels of a grid of strips, which may have fewer, but not below 4
_SUFFIXES = {"images": ".png", "clips": ".gif", "audio": ".wav"}
_LEGENDS = {
    "clips": "each strip of frames, or of slices, is one sample",
    "audio": f"each sample is a spectrogram above its waveform: {spectrogram.FLOOR} to 0 dB, 0 to half the rate",
}


class View(NamedTuple):
    """How samples of one shape are shown.

    Attributes:
        kind: "points" are a scatter plot, and "vectors" a heat map. "images", "clips" and "audio" are grids, in
            which each sample is one cell: an image, a film strip of a video or a volume, or a spectrogram.
        size: height and width of a cell in pixels; None: there are no cells.
        frame: height and width of a clip as it plays; None for what does not play.
        most: the largest number of samples in the grids of a run; None: any.
    """

    kind: Kind
    size: tuple[int, int] | None = None
    frame: tuple[int, int] | None = None
    most: int | None = None

    @property
    def suffix(self) -> str | None:
        """The ending of the file of one sample: ".png", ".gif" or ".wav"; None: there is no such file."""
        return _SUFFIXES.get(self.kind)

    @property
    def legend(self) -> str:
        """A line that says what a cell is; empty for what needs no words."""
        return _LEGENDS.get(self.kind, "")

    @property
    def pad(self) -> int:
        """The pixels between cells."""
        return 2 if self.kind == "images" else 6

    def shown(self, count: int, classes: int | None = None) -> int:
        """Returns how many of `count` samples a grid of a run shows; where they do not fit, as many of each."""
        if self.most is None or count <= self.most:
            return count
        return self.most - self.most % classes if classes and classes <= self.most else self.most

    def cells(self, samples: np.ndarray) -> np.ndarray:
        """Returns an image of each sample, uint8 `[N, *size, C]`, of samples `[N, *S]`."""
        if self.kind == "audio":
            return spectrogram.cells(samples)
        images = to_uint8(samples)
        if self.kind == "clips":
            return strip.cells(images)
        return images[..., None] if images.ndim == 3 else images


def choose_view(shape: tuple[int, ...]) -> View:
    """Chooses by the shape of one sample how samples are shown.

    `[2]` is a point, `[T, 1]` and `[T, 2]` are mono and stereo audio, `[H, W]` and `[H, W, C]` are images, and
    `[T, H, W, C]` is a video or a volume. All others are vectors.
    """
    if len(shape) == 2 and shape[1] <= 2:
        return View("audio", spectrogram.cell_size(shape[1]), most=_SOUNDS)
    if len(shape) in (2, 3):
        return View("images", (shape[0], shape[1]))
    if len(shape) == 4:
        size = strip.cell_size(shape)
        most = max(_LEAST, min(_CLIPS, _AREA // (size[0] * size[1])))
        return View("clips", size, (shape[1], shape[2]), most)
    return View("points" if np.prod(shape) == 2 else "vectors")


def view_notes(shape: tuple[int, ...], rate: float | None, count: int, classes: int | None = None) -> list[str]:
    """Returns lines on what may surprise in the sample grids of a run.

    Args:
        shape: of a sample.
        rate: of the data, see `data.source.rate`.
        count: `sample.count` of the config.
        classes: of the samples; None: they have none.
    """
    view, lines = choose_view(shape), []
    if (shown := view.shown(count, classes)) < count:
        lines.append(f"note: sample.count={count}, and a grid of such samples shows the first {shown}")
    if view.kind == "audio" and rate is None:
        lines.append(
            f"note: the data do not say their rate: WAV files get {RATE:,} samples a second; data.source.rate "
            "says it"
        )
    return lines
