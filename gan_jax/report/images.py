"""Images of samples: sample grids, scatter plots and heat maps; PNG files."""

import io
import math
from pathlib import Path

import numpy as np

from ..files.folder import write_atomically
from ..pixels import to_uint8
from .colours import BACKGROUND, CENTER, INK, POINT, three_channels
from .layout import choose_layout
from .view import choose_view

SIDE = 512  # pixels: the side of a scatter plot, and the least that a person can read
_GAP = 4  # by how many times the line between images the one between classes is wider


def _enlarge(images: np.ndarray, factor: int) -> np.ndarray:
    return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def grid(
    images: np.ndarray,
    columns: int | None = None,
    pad: int = 2,
    min_side: int = SIDE,
    *,
    groups: int | None = None,
) -> np.ndarray:
    """Returns a sample grid, uint8 `[H', W', 3]`, of images `[N, H, W, C]` in [-1, 1] or uint8.

    Args:
        columns: images in a row; None makes the grid about square.
        pad: width in pixels of the white lines between images and around the grid.
        min_side: least length in pixels of the grid's longer side. Smaller images are enlarged by a whole factor,
            without interpolation.
        groups: image i is of class i mod `groups`. The images of a class are one block, with wider lines around
            it; see `layout.choose_layout`.

    Raises:
        ValueError: there are no images, or they are not `[N, H, W, C]`.
    """
    images = three_channels(to_uint8(images))
    if images.ndim != 4 or not len(images):
        raise ValueError(f"a sample grid needs images [N, H, W, C] with N > 0, got the shape {images.shape}")
    layout = choose_layout(len(images), images.shape[1], images.shape[2], groups, columns)
    rows, columns = layout.down * layout.rows, layout.across * layout.columns
    images = _enlarge(images, max(1, math.ceil(min_side / max(columns * images.shape[2], rows * images.shape[1]))))
    height, width = images.shape[1:3]
    gap = _GAP * pad
    shape = (
        rows * (height + pad) + pad + (layout.down - 1) * gap,
        columns * (width + pad) + pad + (layout.across - 1) * gap,
        3,
    )
    canvas = np.full(shape, BACKGROUND, np.uint8)
    for index, image in enumerate(images):
        down, across, row, column = layout.place(index)
        top, left = pad + row * (height + pad) + down * gap, pad + column * (width + pad) + across * gap
        canvas[top : top + height, left : left + width] = image
    return canvas


Extent = tuple[float, float, float, float]


def _extent(points: np.ndarray, centers: np.ndarray | None) -> Extent:
    """Returns a square around the centers or, if there are none, around the inner 99.5 % of the points."""
    reach = 1.0
    if centers is not None and len(centers):
        reach = 1.5 * float(np.abs(centers).max()) or 1.0
    elif len(points):
        reach = 1.1 * float(np.quantile(np.abs(points), 0.995)) or 1.0
    return -reach, reach, -reach, reach


def scatter(points: np.ndarray, extent: Extent | None = None, centers: np.ndarray | None = None) -> np.ndarray:
    """Returns a scatter plot, uint8 `[512, 512, 3]`: points `[N, 2]` as translucent dots in a box with axes.

    Points that are not finite, or outside `extent`, are left out.

    Args:
        extent: left, right, bottom and top in the points' units; None encloses the centers, else the points.
        centers: `[K, 2]`, drawn as crosses.
    """
    from PIL import Image, ImageDraw

    points = np.asarray(points, np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    left, right, bottom, top = extent or _extent(points, centers)
    margin = 36
    inner = SIDE - 2 * margin
    scale = np.array([inner / (right - left), -inner / (top - bottom)])

    def to_pixels(positions: np.ndarray) -> np.ndarray:
        return (positions - [left, top]) * scale + margin

    plot = Image.fromarray(_density(to_pixels(points), margin))
    draw = ImageDraw.Draw(plot)
    draw.rectangle((margin, margin, SIDE - margin, SIDE - margin), outline=INK)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = margin + share * inner
        draw.line((at, SIDE - margin, at, SIDE - margin + 4), fill=INK)
        draw.line((margin - 4, at, margin, at), fill=INK)
        across, up = left + share * (right - left), top + share * (bottom - top)
        draw.text((at, SIDE - margin + 7), f"{across:.3g}", fill=INK, anchor="mt")
        draw.text((margin - 7, at), f"{up:.3g}", fill=INK, anchor="rm")
    for x, y in to_pixels(np.asarray(centers, np.float64).reshape(-1, 2)) if centers is not None else ():
        draw.line((x - 5, y, x + 5, y), fill=CENTER)
        draw.line((x, y - 5, x, y + 5), fill=CENTER)
    return np.asarray(plot)


def _density(positions: np.ndarray, margin: int) -> np.ndarray:
    """Draws dots of radius 2, `[SIDE, SIDE, 3]`: each dot covers a third of what is still visible below it."""
    inside = ((positions >= margin) & (positions <= SIDE - margin)).all(axis=1)
    columns, rows = np.rint(positions[inside]).astype(int).T
    counts = np.zeros((SIDE, SIDE))
    for down in range(-2, 3):
        for right in range(-2, 3):
            if down**2 + right**2 <= 5:
                np.add.at(counts, (rows + down, columns + right), 1.0)
    cover = 1 - (2 / 3) ** counts[..., None]
    return np.rint(BACKGROUND * (1 - cover) + np.array(POINT) * cover).astype(np.uint8)


def heat_map(vectors: np.ndarray, min_side: int = SIDE) -> np.ndarray:
    """Returns a heat map, uint8 `[H, W, 3]`, with a row for each vector of `[N, D]`.

    Negative values are blue, positive ones red, zero white, values that are not finite grey. The largest
    absolute value has the full colour. Each value is a square of pixels, and the longer side has at least
    `min_side` pixels.
    """
    vectors = np.asarray(vectors, np.float64)
    finite = np.isfinite(vectors)
    largest = np.abs(vectors[finite]).max(initial=0.0) or 1.0
    value = np.where(finite, vectors, 0.0)[..., None] / largest
    colour = np.where(value < 0, np.array(POINT), np.array(CENTER))
    pixels = np.rint(BACKGROUND + np.abs(value) * (colour - BACKGROUND)).astype(np.uint8)
    pixels[~finite] = 128
    return _enlarge(pixels, max(1, math.ceil(min_side / max(vectors.shape))))


def picture(
    samples: np.ndarray,
    *,
    columns: int | None = None,
    groups: int | None = None,
    extent: Extent | None = None,
    centers: np.ndarray | None = None,
) -> np.ndarray:
    """Returns one image of all samples, uint8 `[H', W', 3]`; `choose_view` says what they are shown as."""
    samples = np.asarray(samples)
    view = choose_view(samples.shape[1:])
    if view.size is not None:
        return grid(view.cells(samples), columns, view.pad, groups=groups)
    samples = samples.reshape(len(samples), -1)
    return scatter(samples, extent, centers) if view.kind == "points" else heat_map(samples)


# ---- files


def png_bytes(array: np.ndarray) -> bytes:
    """Returns uint8 `[H, W, 3]` or `[H, W]` as the content of a PNG file."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(array).save(content, format="PNG")
    return content.getvalue()


def save_png(path: str | Path, array: np.ndarray) -> None:
    """Writes uint8 `[H, W, 3]` or `[H, W]` as a PNG file, in one rename; creates the folder."""
    write_atomically(Path(path), png_bytes(array), sync=False)
