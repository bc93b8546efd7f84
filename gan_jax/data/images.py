"""Decodes images with Pillow, converts them to 8-bit grey or RGB, crops and resizes them.

Colour profiles are ignored. Transparent images are composed on white.
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

MAX_PIXELS = 2**26
"""The most pixels that are decoded, because a file of a few bytes can claim enough to exhaust the memory."""

# Pillow tries these formats alone, whatever the suffix is: for others it may start a program, such as Ghostscript.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF")
_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_GREY = ("1", "L", "LA", "La", *_SIXTEEN_BIT)


@dataclass(frozen=True)
class Transform:
    """The image options that all image sources share.

    size:     side of the square result in pixels; None keeps the size of every image and does not crop.
    crop:     "center" cuts out the largest centred square before resizing; "none" squeezes the whole image.
    filter:   Pillow's resampling filter; all but "nearest" antialias when they shrink an image.
    channels: 1 (grey) or 3 (RGB); None keeps the number of channels of the source.
    """

    size: int | None = None
    crop: Crop = "center"
    filter: Filter = "lanczos"
    channels: Channels | None = None

    def __post_init__(self):
        if self.size is not None and self.size < 1:
            raise UserError(f"size must be at least 1 pixel, not {self.size}")
        if self.size is not None and self.size > math.isqrt(MAX_PIXELS):
            raise UserError(f"size must be at most {math.isqrt(MAX_PIXELS)} pixels, not {self.size}")
        for name, choices in (("crop", Crop), ("filter", Filter)):
            if getattr(self, name) not in get_args(choices):
                raise UserError(
                    f"{name} must be one of {', '.join(get_args(choices))}, not '{getattr(self, name)}'"
                )
        if self.channels not in (None, 1, 3):
            raise UserError(f"channels must be 1 or 3, not {self.channels}")

    def shape(self, height: int, width: int, channels: int) -> tuple[int, int, int]:
        """Returns (H, W, C) of the result for an image of this height, width and number of channels."""
        height, width = (height, width) if self.size is None else (self.size, self.size)
        return height, width, self.channels or channels

    def describe_resize(self) -> str:
        """Returns the options that change the pixels, for the fingerprint of a source."""
        return "unresized" if self.size is None else f"crop={self.crop} filter={self.filter}"

    def apply(self, image: "Image.Image", channels: int, upright: bool = True) -> np.ndarray:
        """Converts a Pillow image of any mode to uint8 [H, W, channels]; see `flatten` for `upright`."""
        flat = self._crop_and_resize(flatten(image, channels, upright))
        return np.asarray(flat).reshape(flat.height, flat.width, channels)

    def _crop_and_resize(self, image: "Image.Image") -> "Image.Image":
        from PIL import Image

        if self.size is None or image.size == (self.size, self.size):
            return image
        if self.crop == "center" and image.width != image.height:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
        return image.resize((self.size, self.size), Image.Resampling[self.filter.upper()])


@contextlib.contextmanager
def open_image(file: Path | IO[bytes], most: int | None = None) -> "Iterator[Image.Image]":
    """Opens an image file without decoding its pixels.

    Raises ValueError for an image of more than `most` pixels (None: `MAX_PIXELS`); Pillow may raise others.
    """
    from PIL import Image

    most = MAX_PIXELS if most is None else most
    if isinstance(file, Path) and not stat.S_ISREG(os.stat(file).st_mode):
        raise ValueError("it is not a regular file")
    try:
        image = Image.open(file, formats=_FORMATS)
    except (
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:  # Pillow's limits are above ours
        claimed = re.search(r"\d+", str(error))
        _check_pixel_count(int(claimed[0]) if claimed else most + 1, most)
        raise
    with image:
        _check_pixel_count(image.width * image.height, most)
        yield image


def quiet_pillow() -> None:
    """Hides Pillow's warnings, because such an image is either refused with an error here or decoded correctly."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _check_pixel_count(count: int, most: int) -> None:
    if count < 1:
        raise ValueError("it has no pixels")
    if count > most:
        raise ValueError(f"it claims {count:,} pixels, but at most {most:,} are decoded")


def is_grey(image: "Image.Image") -> bool:
    """Returns whether the mode of the image is grey; a palette counts as colour."""
    return image.mode in _GREY


def flatten(image: "Image.Image", channels: int, upright: bool = True) -> "Image.Image":
    """Converts the image to 8 bits, mode "L" (1 channel) or "RGB" (3), without transparency.

    `upright` applies the EXIF orientation. 16-bit grey values v become round(v / 257). Raises ValueError for
    values without a standard range (integers beyond 16 bits, floats).
    """
    from PIL import Image, ImageOps

    if upright:
        image = ImageOps.exif_transpose(image) or image
    if image.mode in _SIXTEEN_BIT:
        image = _from_sixteen_bits(image)
    elif image.mode == "F":
        raise ValueError("its values are floats, which have no standard range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        # Before any resize, because a filter would mix the colours of transparent pixels into visible ones.
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _from_sixteen_bits(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    values = np.asarray(image).astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ValueError("its values are beyond 16 bits, which have no standard range")
    narrow = ((values + 128) // 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        narrow[values == transparent] = 255
    return Image.fromarray(narrow)
