"""Opens images with Pillow and converts them to 8-bit grey or RGB.

Colour profiles are ignored. Transparent images are composed on white.
"""

import contextlib
import functools
import importlib
import os
import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 2**26
"""The most pixels that are decoded, because a file of a few bytes can claim enough to exhaust the memory."""

# Pillow tries these formats alone, whatever the suffix is: for others it may start a program, such as Ghostscript.
# A build of Pillow without AVIF leaves it out.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF")
_WIDE = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_GREY = ("1", "L", "LA", "La", *_WIDE)

ORIENTATION = 0x0112  # a tag of EXIF
Range = tuple[float, float]


class Values(NamedTuple):
    """The values in a file: the least and the largest, and the largest that the file could have."""

    low: float
    high: float
    full: float


@contextlib.contextmanager
def open_image(file: Path | IO[bytes], most: int | None = None) -> "Iterator[Image.Image]":
    """Opens an image file without decoding its pixels.

    Raises ValueError for an image of more than `most` pixels (None: `MAX_PIXELS`); Pillow may raise others.
    """
    from PIL import Image, UnidentifiedImageError

    most = MAX_PIXELS if most is None else most
    if isinstance(file, Path) and not stat.S_ISREG(os.stat(file).st_mode):
        raise ValueError("it is not a regular file")
    try:
        image = Image.open(file, formats=list(_supported()))
    except (
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:  # Pillow's limits are above ours
        claimed = re.search(r"\d+", str(error))
        _check_pixel_count(int(claimed[0]) if claimed else most + 1, most)
        raise
    except UnidentifiedImageError as error:  # it names an object in memory
        raise ValueError("cannot identify image file") from error
    with image:
        _check_pixel_count(image.width * image.height, most)
        yield image


@functools.cache
def _supported() -> tuple[str, ...]:
    try:
        has_avif = importlib.import_module("PIL.AvifImagePlugin").SUPPORTED  # since Pillow 11.2
    except ImportError:
        has_avif = False
    return tuple(name for name in FORMATS if name != "AVIF" or has_avif)


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


def values_of(image: "Image.Image") -> Values:
    """Returns the values of the colours of a decoded image, without its alpha channel."""
    if image.mode in _WIDE:
        values = np.asarray(image)
        return Values(float(values.min()), float(values.max()), 1.0 if image.mode == "F" else 65535.0)
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        return Values(0.0, 255.0, 255.0)  # of a palette, a mask, CMYK and the like: they have their range
    pairs = np.array(image.getextrema()).reshape(-1, 2).tolist()
    colours = pairs[: 1 if image.mode in ("L", "LA") else 3]
    return Values(min(low for low, _ in colours), max(high for _, high in colours), 255.0)


def upright_image(image: "Image.Image") -> "Image.Image":
    """Returns the image as its EXIF orientation says that it is seen."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) or image


def flatten(image: "Image.Image", channels: int, range: Range | None = None) -> "Image.Image":
    """Converts the image to 8 bits, mode "L" (1 channel) or "RGB" (3), without transparency.

    Without `range`, 16-bit grey values v become round(v / 257). With it, v becomes
    round(255 (v - low) / (high - low)), clipped to 0 to 255. Raises ValueError for values without a standard range
    (integers beyond 16 bits, floats) if there is no `range`.
    """
    from PIL import Image

    if image.mode in _WIDE:
        image = _from_wide(image, range)
    elif range is not None:
        image = _scaled(image, range)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        # Before any resize, because a filter would mix the colours of transparent pixels into visible ones.
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def to_bytes(values: np.ndarray, range: Range) -> np.ndarray:
    """Returns the values as uint8: `range` becomes 0 to 255, and what lies outside is clipped."""
    low, high = range
    return np.clip(np.rint((values.astype(np.float64) - low) * (255 / (high - low))), 0, 255).astype(np.uint8)


def _scaled(image: "Image.Image", range: Range) -> "Image.Image":
    """Scales the colours of an image of 8 bits, and leaves its alpha channel."""
    table = to_bytes(np.arange(256), range).tolist()
    is_transparent = image.has_transparency_data and image.mode not in (
        "LA",
        "RGBA",
    )  # one colour is, or a palette
    if is_transparent or image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGBA" if is_transparent else "RGB")
    alpha = list(np.arange(256)) if image.mode in ("LA", "RGBA") else []
    return image.point(table * (len(image.getbands()) - bool(alpha)) + alpha)


def _from_wide(image: "Image.Image", range: Range | None) -> "Image.Image":
    from PIL import Image

    values = np.asarray(image)
    if range is None and image.mode == "F":
        raise ValueError(f"its values are floats, which have no standard range: {_advice(values)}")
    if range is None and values.size and (values.min() < 0 or values.max() > 65535):
        raise ValueError(f"its values are beyond 16 bits, which have no standard range: {_advice(values)}")
    if not np.isfinite(values).all():
        raise ValueError("it has values that are not finite")
    narrow = (
        ((values.astype(np.int64) + 128) // 257).astype(np.uint8) if range is None else to_bytes(values, range)
    )
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        narrow[values == transparent] = 255
    return Image.fromarray(narrow)


def _advice(values: np.ndarray) -> str:
    return f"it has {values.min():g} to {values.max():g}, so pass data.source.range=LOW,HIGH"
