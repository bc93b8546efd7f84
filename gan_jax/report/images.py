"""Pictures of samples: grids, scatter plots, heat maps, PNG and GIF files. The run's page is in `page.py`."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..pixels import to_uint8

if TYPE_CHECKING:
    from PIL import Image

SIDE = 512  # pixels: what a person can read, and the side of a scatter plot
BACKGROUND, INK, POINT, CENTER = 255, (150, 150, 150), (31, 96, 196), (214, 69, 45)


def _colour(images: np.ndarray) -> np.ndarray:
    """Three channels of any number: one is repeated, a missing third is black, beyond three are dropped."""
    channels = images.shape[-1]
    if channels == 1:
        return np.repeat(images, 3, axis=-1)
    missing = [(0, 0)] * (images.ndim - 1) + [(0, max(0, 3 - channels))]
    return np.pad(images[..., :3], missing)


def _enlarge(images: np.ndarray, factor: int) -> np.ndarray:
    return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def grid(images: np.ndarray, columns: int | None = None, pad: int = 2, min_side: int = SIDE) -> np.ndarray:
    """`[N, H, W, C]` in [-1, 1] or uint8 to one picture, uint8 `[H', W', 3]`, in rows of `columns`.

    `columns` defaults to a square. Where the columns together are narrower than `min_side` pixels, each image
    is enlarged by a whole number, sharp as it is. Images lie `pad` white pixels apart, and from the edge.
    """
    images = _colour(to_uint8(images))
    if images.ndim != 4 or not len(images):
        raise ValueError(f"a grid is made of [N, H, W, C] with N > 0, got {images.shape}")
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    images = _enlarge(images, max(1, math.ceil(min_side / (columns * images.shape[2]))))
    rows = math.ceil(len(images) / columns)
    height, width = images.shape[1:3]
    shape = (rows * (height + pad) + pad, columns * (width + pad) + pad, 3)
    picture = np.full(shape, BACKGROUND, np.uint8)
    for index, image in enumerate(images):
        top, left = pad + (index // columns) * (height + pad), pad + (index % columns) * (width + pad)
        picture[top : top + height, left : left + width] = image
    return picture


Extent = tuple[float, float, float, float]


def _extent(points: np.ndarray, centers: np.ndarray | None) -> Extent:
    """A square around the centers, or else around all but the outermost of the points."""
    reach = 1.0
    if centers is not None and len(centers):
        reach = 1.5 * float(np.abs(centers).max()) or 1.0
    elif len(points):
        reach = 1.1 * float(np.quantile(np.abs(points), 0.995)) or 1.0
    return -reach, reach, -reach, reach


def scatter(points: np.ndarray, extent: Extent | None = None, centers: np.ndarray | None = None) -> np.ndarray:
    """Points `[N, 2]` as translucent dots in a box with axes, uint8 `[512, 512, 3]`; denser is darker.

    `extent`: left, right, bottom, top; by default around `centers` `[K, 2]`, drawn as crosses, or the points.
    Points outside it or not finite are left out.
    """
    from PIL import Image, ImageDraw

    points = np.asarray(points, np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    left, right, bottom, top = extent or _extent(points, centers)
    margin = 36
    inner = SIDE - 2 * margin
    scale = np.array([inner / (right - left), -inner / (top - bottom)])

    def pixels(where: np.ndarray) -> np.ndarray:
        return (where - [left, top]) * scale + margin

    picture = Image.fromarray(_density(pixels(points), margin))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((margin, margin, SIDE - margin, SIDE - margin), outline=INK)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = margin + share * inner
        draw.line((at, SIDE - margin, at, SIDE - margin + 4), fill=INK)
        draw.line((margin - 4, at, margin, at), fill=INK)
        across, up = left + share * (right - left), top + share * (bottom - top)
        draw.text((at, SIDE - margin + 7), f"{across:.3g}", fill=INK, anchor="mt")
        draw.text((margin - 7, at), f"{up:.3g}", fill=INK, anchor="rm")
    for x, y in pixels(np.asarray(centers, np.float64).reshape(-1, 2)) if centers is not None else ():
        draw.line((x - 5, y, x + 5, y), fill=CENTER)
        draw.line((x, y - 5, x, y + 5), fill=CENTER)
    return np.asarray(picture)


def _density(pixels: np.ndarray, margin: int) -> np.ndarray:
    """Dots of radius 2 that let a third of the light be lost where they overlap, `[SIDE, SIDE, 3]`."""
    inside = ((pixels >= margin) & (pixels <= SIDE - margin)).all(axis=1)
    columns, rows = np.rint(pixels[inside]).astype(int).T
    counts = np.zeros((SIDE, SIDE))
    for down in range(-2, 3):
        for right in range(-2, 3):
            if down**2 + right**2 <= 5:
                np.add.at(counts, (rows + down, columns + right), 1.0)
    cover = 1 - (2 / 3) ** counts[..., None]
    return np.rint(BACKGROUND * (1 - cover) + np.array(POINT) * cover).astype(np.uint8)


def heat_map(vectors: np.ndarray, min_side: int = SIDE) -> np.ndarray:
    """Vectors `[N, D]`, one a row: blue below zero, red above, by the largest size; grey if not finite."""
    vectors = np.asarray(vectors, np.float64)
    finite = np.isfinite(vectors)
    size = np.abs(vectors[finite]).max(initial=0.0) or 1.0
    value = np.where(finite, vectors, 0.0)[..., None] / size
    towards = np.where(value < 0, np.array(POINT), np.array(CENTER))
    picture = np.rint(BACKGROUND + np.abs(value) * (towards - BACKGROUND)).astype(np.uint8)
    picture[~finite] = 128
    return _enlarge(picture, max(1, math.ceil(min_side / max(vectors.shape))))


def picture(
    samples: np.ndarray,
    *,
    columns: int | None = None,
    extent: Extent | None = None,
    centers: np.ndarray | None = None,
) -> np.ndarray:
    """Samples as one picture: `[N, H, W]` and `[N, H, W, C]` a grid, `[N, 2]` a scatter, else a heat map."""
    samples = np.asarray(samples)
    if samples.ndim == 3:
        samples = samples[..., None]
    if samples.ndim == 4:
        return grid(samples, columns)
    samples = samples.reshape(len(samples), -1)
    return scatter(samples, extent, centers) if samples.shape[1] == 2 else heat_map(samples)


# ---- files


def _temporary(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(path.name + ".tmp")


def save_png(path: str | Path, array: np.ndarray) -> None:
    """Writes uint8 `[H, W, 3]` or `[H, W]`; the file appears whole or not at all."""
    from PIL import Image

    path = Path(path)
    temporary = _temporary(path)
    Image.fromarray(array).save(temporary, format="PNG")
    os.replace(temporary, path)


def save_gif(
    path: str | Path, png_paths: Sequence[str | Path], seconds_per_frame: float = 0.2, most: int = 60
) -> None:
    """A film of pictures, at most `most` of them evenly picked, the last one held; it loops.

    All frames have the last one's size (others are left out) and share one palette, so that nothing flickers.
    Raises ValueError if there are none.
    """
    from PIL import Image

    if not png_paths:
        raise ValueError("a GIF needs at least one picture")
    picks = np.unique(np.linspace(0, len(png_paths) - 1, min(most, len(png_paths))).round().astype(int))
    frames = []
    for index in picks:
        with Image.open(png_paths[index]) as image:
            frames.append(image.convert("RGB"))
    frames = [frame for frame in frames if frame.size == frames[-1].size]
    palette = _palette(frames)
    first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    duration = round(1000 * seconds_per_frame)
    durations = [duration] * len(rest) + [max(2000, duration)]
    path = Path(path)
    temporary = _temporary(path)
    first.save(temporary, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False)
    os.replace(temporary, path)


def _palette(frames: Sequence["Image.Image"]) -> "Image.Image":
    """One palette for them all, of a sample of their pixels."""
    from PIL import Image

    width, height = frames[0].size
    stride = math.ceil(math.sqrt(len(frames) * width * height / 2_000_000))  # enough for 256 colours
    return Image.fromarray(np.concatenate([np.asarray(frame)[::stride, ::stride] for frame in frames])).quantize(
        256
    )
