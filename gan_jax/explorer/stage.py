"""The large image of the page, with its caption and its downloads, as HTML.

Images and downloads are `data:` addresses inside the page, so that the server serves no files and keeps none.
"""

import base64
import io
from collections.abc import Iterable, Mapping
from html import escape
from typing import NamedTuple

import numpy as np

from ..report.colours import three_channels
from ..report.gif import clip_gif
from ..report.sample_files import file_of

_PIXELS = 128  # an image whose longer side is at most this is enlarged without interpolation
_SIDE = 256  # pixels, the least longer side of an animation, which other programs may enlarge with interpolation
_HOLD = 600  # milliseconds that an animation stays at its ends

_TYPES = {"png": "image/png", "gif": "image/gif", "npz": "application/octet-stream"}


class Download(NamedTuple):
    """A file that a person can keep: the text of its link, its name, and its content."""

    text: str
    name: str
    content: bytes


def stage(image: Download, size: tuple[int, ...], words: Iterable[str], downloads: Iterable[Download]) -> str:
    """Returns the HTML of an image of `size` (height, width), the words of its caption, and links to downloads."""
    height, width = size
    shown = " class='pixels'" if max(size) <= _PIXELS else ""
    caption = "".join(f"<span>{escape(word)}</span>" for word in words)
    links = "".join(
        f"<a href='{_address(one)}' download='{escape(one.name)}'>{escape(one.text)}</a>" for one in downloads
    )
    return (
        f"<figure class='stage'><img{shown} src='{_address(image)}' style='--ratio: {width / height:.4f}' "
        f"alt='the image of these settings'><figcaption>{caption}</figcaption><nav>{links}</nav></figure>"
    )


def upload_beside(image: np.ndarray, words: str) -> str:
    """Returns the HTML of a small image, uint8 `[H, W, C]`, that a person has uploaded."""
    shown = " class='pixels'" if max(image.shape[:2]) <= _PIXELS else ""
    shown = f"<img{shown} src='{_address(png('', 'upload.png', image))}' alt='your image'>"
    return f"<figure class='upload'>{shown}<figcaption>{escape(words)}</figcaption></figure>"


def png(text: str, name: str, image: np.ndarray) -> Download:
    """Returns the PNG file of an image, uint8 `[H, W, C]`: the one that `gan-jax sample` writes."""
    return Download(text, name, file_of(image, None))


def gif(text: str, name: str, frames: np.ndarray, milliseconds: int = 60) -> Download:
    """Returns a GIF that plays frames, uint8 `[T, H, W, C]`, forth and back."""
    factor = max(1, -(-_SIDE // max(frames.shape[1:3])))
    frames = three_channels(frames).repeat(factor, axis=1).repeat(factor, axis=2)
    forth_and_back = [*frames, *frames[-2:0:-1]]
    durations = [milliseconds] * len(forth_and_back)
    durations[0] = durations[len(frames) - 1] = _HOLD
    return Download(text, name, clip_gif(forth_and_back, durations))


def npz(text: str, name: str, arrays: Mapping[str, np.ndarray | None]) -> Download:
    """Returns an .npz file of arrays; those that are None are left out."""
    content, kept = io.BytesIO(), {key: value for key, value in arrays.items() if value is not None}
    np.savez_compressed(content, **kept)  # pyright: ignore[reportArgumentType]
    return Download(text, name, content.getvalue())


def _address(download: Download) -> str:
    kind = _TYPES[download.name.rpartition(".")[2]]
    return f"data:{kind};base64,{base64.b64encode(download.content).decode()}"
