"""The options that all image sources share: size, crop, filter, channels and the range of values."""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ..errors import UserError, quoted
from . import decode
from .decode import Range, flatten, to_bytes, upright_image

if TYPE_CHECKING:
    from PIL import Image

Size = int | str | tuple[int, int]
"""A side in pixels, or height and width: "192x128", or (192, 128)."""

Crop = Literal["center", "pad", "stretch", "none"]
Filter = Literal["lanczos", "bicubic", "bilinear", "box", "hamming", "nearest"]
Channels = Literal[1, 3]


@dataclass(frozen=True)
class Transform:
    """The image options that all image sources share.

    size:     the side of the square result in pixels, or its height and width ("192x128"); None keeps the size of
              every image and does not crop.
    crop:     how an image of another shape becomes one of this shape, before it is resized: "center" cuts out the
              largest centred part; "pad" adds black at both sides; "stretch" (or "none") changes the proportions.
    filter:   Pillow's resampling filter; all but "nearest" antialias when they shrink an image.
    channels: 1 (grey) or 3 (RGB); None keeps the number of channels of the source.
    range:    the values of the files that become 0 and 255, such as (0, 4095); None: the standard range of the
              file format.
    reduced:  decode a JPEG file of more than twice the size at 1/2, 1/4 or 1/8 of its size. It is several times
              as fast, and gives slightly other pixels.
    """

    size: Size | None = None
    crop: Crop = "center"
    filter: Filter = "lanczos"
    channels: Channels | None = None
    range: Range | None = None
    reduced: bool = False

    def __post_init__(self):
        if self.size is not None:
            height, width = parse_size(self.size)
            object.__setattr__(self, "size", height if height == width else (height, width))
        for name, choices in (("crop", Crop), ("filter", Filter)):
            if getattr(self, name) not in get_args(choices):
                raise UserError(
                    f"{name} must be one of {', '.join(get_args(choices))}, not '{getattr(self, name)}'"
                )
        if self.channels not in (None, 1, 3):
            raise UserError(f"channels must be 1 or 3, not {self.channels}")
        if self.range is not None and not _is_range(self.range):
            raise UserError(f"range must be the values that become 0 and 255, such as 0,4095, not {self.range}")
        if self.reduced and self.size is None:
            raise UserError("reduced=true decodes JPEG files at less than their size: pass size as well")

    @property
    def sides(self) -> tuple[int, int] | None:
        """Height and width of the result; None if images keep their size."""
        return None if self.size is None else parse_size(self.size)

    def shape(self, height: int, width: int, channels: int) -> tuple[int, int, int]:
        """Returns (H, W, C) of the result for an image of this height, width and number of channels."""
        height, width = self.sides or (height, width)
        return height, width, self.channels or channels

    def describe(self) -> str:
        """Returns the options that change the pixels, for the fingerprint of a source."""
        crop = "none" if self.crop == "stretch" else self.crop
        words = ["unresized" if self.size is None else f"crop={crop} filter={self.filter}"]
        words += [] if self.range is None else ["range={:g}..{:g}".format(*self.range)]
        return " ".join([*words, *(["reduced"] if self.reduced else [])])

    def apply(self, image: "Image.Image", channels: int, upright: bool = True) -> np.ndarray:
        """Converts a Pillow image of any mode to uint8 [H, W, channels].

        `upright` applies the EXIF orientation.
        """
        if self.reduced:
            self._reduce(image)
        flat = flatten(upright_image(image) if upright else image, channels, self.range)
        flat = self._crop_and_resize(flat)
        return np.asarray(flat).reshape(flat.height, flat.width, channels)

    def array(self, pixels: np.ndarray, channels: int) -> np.ndarray:
        """Converts an array [H, W, C] of uint8, or with a range of any numbers, to uint8 [H, W, channels]."""
        from PIL import Image

        if pixels.dtype != np.uint8:
            assert self.range is not None, "numbers other than uint8 need a range"
            pixels, scaled = to_bytes(pixels, self.range), Transform(self.size, self.crop, self.filter)
        else:
            scaled = self
        return scaled.apply(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), channels)

    def _reduce(self, image: "Image.Image") -> None:
        """Makes Pillow's JPEG decoder leave out what the resize would; it keeps at least twice the sides."""
        height, width = self.sides or (image.height, image.width)
        if image.format == "JPEG":
            side = 2 * max(height, width)  # the orientation is not known yet
            factor = min(image.width, image.height) / side
            if factor > 1:
                image.draft(None, (math.ceil(image.width / factor), math.ceil(image.height / factor)))

    def _crop_and_resize(self, image: "Image.Image") -> "Image.Image":
        from PIL import Image, ImageOps

        if self.sides is None:
            return image
        height, width = self.sides
        if image.size == (width, height):
            return image
        kind = Image.Resampling[self.filter.upper()]
        if self.crop == "pad":
            return ImageOps.pad(image, (width, height), kind)
        box = _centred(image.width, image.height, width / height) if self.crop == "center" else None
        return (image if box is None else image.crop(box)).resize((width, height), kind)


def parse_size(size: Size) -> tuple[int, int]:
    """Returns height and width. Raises UserError if `size` is not a size, or is too large."""
    if isinstance(size, str):
        matched = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", size.strip())
        if matched is None:
            raise UserError(
                f"size must be a number of pixels, or HEIGHTxWIDTH such as 192x128, not {quoted(size)}"
            )
        height, width = int(matched[1]), int(matched[2] or matched[1])
    elif isinstance(size, int):
        height = width = size
    else:
        height, width = size
    if min(height, width) < 1:
        raise UserError(f"size must be at least 1 pixel, not {min(height, width)}")
    if height * width > decode.MAX_PIXELS:
        most = math.isqrt(decode.MAX_PIXELS)
        raise UserError(f"size must be at most {most} pixels, or {most}x{most}, not {max(height, width)}")
    return height, width


def _is_range(values: Range) -> bool:
    return len(values) == 2 and all(map(math.isfinite, values)) and values[0] < values[1]


def _centred(width: int, height: int, aspect: float) -> tuple[int, int, int, int] | None:
    """Returns the largest centred box with this ratio of width to height; None if it is the whole image."""
    part = min(width, round(height * aspect)), min(height, round(width / aspect))
    if part == (width, height):
        return None
    wide, high = max(part[0], 1), max(part[1], 1)
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high
