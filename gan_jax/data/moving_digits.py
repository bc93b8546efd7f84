"""Clips of handwritten digits that bounce inside a frame, made when they are read, from digits in the package."""

import functools
import hashlib
import math

import numpy as np

from ..errors import UserError
from .digits import digits as still_digits
from .images import Size, parse_size
from .source import MAX_ROWS, checked_indices, describe_shape, hash_parts

_UNIT = 256  # positions are integers, in parts of a pixel
_ANGLES = 256  # directions in which a digit may start
_LEAST = 16  # pixels, so that a digit has its 8 pixels and room to move
_MOST_NUMBERS = 2**26  # in one clip
_SHOWN = 8  # rows whose content is part of the fingerprint


def moving_digits(
    frames: int = 16, size: Size = 32, digits: int = 2, count: int = 10_000, seed: int = 0
) -> "MovingDigits":
    """Returns a source of `count` clips [T, H, W, 1], uint8: digits move straight on and bounce off the border.

    Each clip has `digits` of the 1797 shipped digits, enlarged to 7/16 of the smaller side. Each starts anywhere,
    in any direction, and moves 1/18 of the smaller side from frame to frame. Where digits overlap, the brighter
    pixel shows. There are no labels. Clip n is a function of the options, the seed and n alone, in integers, so it
    is the same on every machine. With `size=64, frames=20` the proportions are those of Moving MNIST (Srivastava
    et al., "Unsupervised learning of video representations using LSTMs", 2015, arXiv:1502.04681).

    frames: in a clip. size: of a frame in pixels, or height and width ("24x32").
    """
    return MovingDigits(frames, parse_size(size), digits, count, seed)


class MovingDigits:
    """A source of clips; `moving_digits` makes it."""

    def __init__(self, frames: int, size: tuple[int, int], digits: int, count: int, seed: int):
        for name, value in (("frames", frames), ("digits", digits), ("count", count)):
            if value < 1:
                raise UserError(f"{name} of the moving digits must be at least 1, not {value}")
        if min(size) < _LEAST:
            raise UserError(f"size of the moving digits must be at least {_LEAST} pixels, not {min(size)}")
        if count > MAX_ROWS:
            raise UserError(f"count of the moving digits must be at most {MAX_ROWS}, not {count}")
        if (numbers := frames * math.prod(size)) > _MOST_NUMBERS or digits > 1000:
            raise UserError(
                f"a clip of moving digits has at most {_MOST_NUMBERS:,} pixels and 1,000 digits, not {numbers:,} "
                f"and {digits:,}: take fewer frames, a smaller size or fewer digits"
            )
        self.shape, self.dtype = (frames, *size, 1), np.dtype(np.uint8)
        self.classes: int | None = None
        self.rate = 10.0  # frames in a second, where clips are shown
        self._count, self._digits, self._seed = count, digits, seed
        self._side = max(8, 7 * min(size) // 16)
        self._images = _enlarged(self._side)
        self._room = _UNIT * (np.array(size) - self._side)  # [2]: where the upper left corner of a digit may be
        self._velocities = _velocities(_UNIT * min(size) / 18)

    def __len__(self) -> int:
        return self._count

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = checked_indices(indices, self._count)
        clips = np.zeros((len(indices), *self.shape), np.uint8)
        for clip, row in zip(clips, indices):
            self._draw(clip[..., 0], int(row))
        return {"image": clips}

    def _draw(self, clip: np.ndarray, row: int) -> None:
        """Draws the digits of a row into a black clip [T, H, W]."""
        # A hash instead of a generator of NumPy: no version of it can change the clips.
        words = hashlib.shake_128(f"moving digits {self._seed} {row}".encode()).digest(16 * self._digits)
        drawn = np.frombuffer(words, "<u4").reshape(self._digits, 4).astype(np.int64)
        limits = np.array([len(self._images), *(self._room + 1), _ANGLES])
        for digit, *start, angle in drawn * limits >> 32:  # [0, 2^32) to [0, limit)
            way = start + np.arange(len(clip))[:, None] * self._velocities[angle]  # [T, 2], as if without a border
            corners = (_folded(way, self._room) + _UNIT // 2) // _UNIT
            for frame, (top, left) in zip(clip, corners):
                place = frame[top : top + self._side, left : left + self._side]
                np.maximum(place, self._images[digit], out=place)

    def fingerprint(self) -> str:
        # Some content too: a later version may draw other clips.
        content = self.read(np.arange(min(_SHOWN, self._count)))["image"]
        words = f"n={self._count} {describe_shape(self.shape)} digits={self._digits} seed={self._seed}"
        return f"moving_digits {words} #{hash_parts([content.data.cast('B')])}"


def _folded(way: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Returns positions between 0 and `room`: a way that leaves them is reflected at the border."""
    back = way % (2 * room)
    return np.minimum(back, 2 * room - back)


def _velocities(speed: float) -> np.ndarray:
    """Returns int64 [_ANGLES, 2]: a step of this length in each direction."""
    angles = [2 * math.pi * k / _ANGLES for k in range(_ANGLES)]
    # Rounded, so that the last bit of a sine, which differs between machines, does not count.
    return np.array([[round(speed * math.sin(a)), round(speed * math.cos(a))] for a in angles], np.int64)


@functools.lru_cache(maxsize=4)
def _enlarged(side: int) -> np.ndarray:
    """Returns the digits as uint8 [1797, side, side], by bilinear interpolation in integers."""
    image = still_digits().read(np.arange(len(still_digits())))["image"][..., 0].astype(np.int64)
    weights = _bilinear(image.shape[1], side)
    total = (2 * side) ** 2  # of the weights of a pixel
    enlarged = (weights @ image @ weights.T + total // 2) // total
    return enlarged.astype(np.uint8)


def _bilinear(before: int, after: int) -> np.ndarray:
    """Returns int64 [after, before], the weights of linear interpolation times `2 * after`; outside is black."""
    centers = (2 * np.arange(after) + 1) * before - after  # of the new pixels; an old one is 2 * after wide
    distance = np.abs(centers[:, None] - 2 * after * np.arange(before))
    return np.maximum(2 * after - distance, 0)
