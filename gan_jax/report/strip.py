"""Film strips of videos, and of the slices of volumes; and the frames of a grid of clips that play."""

import numpy as np

from .colours import BACKGROUND, INK, three_channels

FRAMES = 8  # in a strip, at most
_GAP = 1  # pixels between two frames


def chosen_frames(length: int) -> np.ndarray:
    """Returns the frames of a strip, at even distances, the first and the last one among them."""
    return np.linspace(0, length - 1, min(FRAMES, length)).round().astype(int)


def cell_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns height and width in pixels of the strip of a sample `[T, H, W, C]`."""
    length, height, width = shape[:3]
    count = min(FRAMES, length)
    return height, count * width + (count - 1) * _GAP


def cells(clips: np.ndarray) -> np.ndarray:
    """Returns a strip of each clip, uint8 `[N, H, W', 3]`, of uint8 `[N, T, H, W, C]`."""
    frames = three_channels(clips[:, chosen_frames(clips.shape[1])])
    count, length, _, width, _ = frames.shape
    strips = np.empty((count, *cell_size(frames.shape[1:]), 3), np.uint8)
    strips[:] = INK
    strips[(frames == BACKGROUND).all((1, 2, 3, 4))] = BACKGROUND  # a place without a sample
    for place in range(length):
        left = place * (width + _GAP)
        strips[:, :, left : left + width] = frames[:, place]
    return strips
