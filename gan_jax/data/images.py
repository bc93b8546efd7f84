"""What every image source does to an image: make it 8-bit grey or RGB, crop it, resize it.

Pillow decodes and resizes. Colour profiles are ignored. Transparent images are laid on white.
"""

import contextlib
import math
import os
import re
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, get_args

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    from PIL import Image

Crop = Literal["center", "none"]
Filter = Literal["lanczos", "bicubic", "bilinear", "box", "hamming", "nearest"]
Channels = Literal[1, 3]

MOST_PIXELS = 2**26
"""Pixels that an image may have. A file of some bytes can claim any number, so others are not decoded at all."""

# Those of the files' endings, whatever these say: for some others Pillow starts a program, such as Ghostscript.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF")
_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_GREY = ("1", "L", "LA", "La", *_SIXTEEN_BIT)


@dataclass(frozen=True)
class Transform:
    """The image options that all image sources share.

    size:     side of the square result in pixels; None keeps every image as it is, uncropped.
    crop:     "center" cuts the largest centred square before resizing; "none" squeezes the whole image.
    filter:   Pillow's resampling filter; all but "nearest" are antialiased when they shrink.
    channels: 1 (grey) or 3 (RGB); None keeps what the source has.
    """

    size: int | None = None
    crop: Crop = "center"
    filter: Filter = "lanczos"
    channels: Channels | None = None

    def __post_init__(self):
        if self.size is not None and self.size < 1:
            raise UserError(f"size must be at least 1 pixel, not {self.size}")
        if self.size is not None and self.size > math.isqrt(MOST_PIXELS):
            raise UserError(f"size must be at most {math.isqrt(MOST_PIXELS)} pixels, not {self.size}")
        for name, choices in (("crop", Crop), ("filter", Filter)):
            if getattr(self, name) not in get_args(choices):
                raise UserError(
                    f"{name} must be one of {', '.join(get_args(choices))}, not '{getattr(self, name)}'"
                )
        if self.channels not in (None, 1, 3):
            raise UserError(f"channels must be 1 or 3, not {self.channels}")

    def shape(self, height: int, width: int, channels: int) -> tuple[int, int, int]:
        """The result's (H, W, C) for an image of this height, width and number of colour channels."""
        height, width = (height, width) if self.size is None else (self.size, self.size)
        return height, width, self.channels or channels

    def describe(self) -> str:
        return "unresized" if self.size is None else f"crop={self.crop} filter={self.filter}"

    def apply(self, image: "Image.Image", channels: int, upright: bool = True) -> np.ndarray:
        """uint8 [H, W, channels] of an image in any of Pillow's modes; see `flatten` for `upright`."""
        flat = self.fit(flatten(image, channels, upright))
        return np.asarray(flat).reshape(flat.height, flat.width, channels)

    def fit(self, image: "Image.Image") -> "Image.Image":
        """The image cropped and resized to `size`; the same image where it already has that size."""
        from PIL import Image

        if self.size is None or image.size == (self.size, self.size):
            return image
        if self.crop == "center" and image.width != image.height:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
        return image.resize((self.size, self.size), Image.Resampling[self.filter.upper()])


@contextlib.contextmanager
def opened(file: Path | IO[bytes]) -> "Iterator[Image.Image]":
    """The image in a file, not decoded yet.

    Raises ValueError for one of more than `MOST_PIXELS`, and whatever Pillow raises.
    """
    from PIL import Image

    if isinstance(file, Path) and not stat.S_ISREG(os.stat(file).st_mode):
        raise ValueError("it is no plain file")
    try:
        image = Image.open(file, formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # its own bound is above ours
        found = re.search(r"\d+", str(error))
        _check_pixels(int(found[0]) if found else MOST_PIXELS + 1)
        raise
    with image:
        _check_pixels(image.width * image.height)
        yield image


def quiet_pillow() -> None:
    """Pillow's warnings are not for the user: what they are of is refused here, or is decoded all the same."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _check_pixels(count: int) -> None:
    if count < 1:
        raise ValueError("it has no pixels")
    if count > MOST_PIXELS:
        raise ValueError(f"it claims {count:,} pixels, and {MOST_PIXELS:,} are the most that is decoded")


def is_grey(image: "Image.Image") -> bool:
    """Whether the image's mode holds grey values only (a palette counts as colour)."""
    return image.mode in _GREY


def flatten(image: "Image.Image", channels: int, upright: bool = True) -> "Image.Image":
    """The image in 8 bits, mode "L" (1 channel) or "RGB" (3), without transparency.

    `upright` turns the image as its EXIF orientation says. 16-bit grey values v become round(v / 257).
    Raises ValueError for a mode whose values have no agreed range (32-bit integers beyond 16 bits, floats).
    """
    from PIL import Image, ImageOps

    if upright:
        image = ImageOps.exif_transpose(image)
    if image.mode in _SIXTEEN_BIT:
        image = _from_sixteen_bits(image)
    elif image.mode == "F":
        raise ValueError("its values are floats, which have no agreed range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        # Composed before any resize: straight alpha must not be filtered apart from its colours.
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _from_sixteen_bits(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    values = np.asarray(image).astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ValueError("its values are beyond 16 bits, which have no agreed range")
    narrow = ((values + 128) // 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        narrow[values == transparent] = 255
    return Image.fromarray(narrow)
