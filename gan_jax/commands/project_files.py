"""The files that show a projection: images beside what was found, the way there, and the distance by step."""

import io
import math

import numpy as np

from .. import report
from ..latent_space.projection import Projection
from ..report.chart import line_chart, svg_file
from ..report.gif import clip_gif
from ..report.images import png_bytes

_LINES = 6  # images with a line of their own in the chart
_FRAME, _LAST = 100, 2000  # milliseconds


def result_files(targets: np.ndarray, found: Projection) -> dict[str, bytes]:
    """Returns the contents of the files by name, for targets uint8 `[B, H, W, C]`."""
    frames = [pairs(targets, images) for images in found.frames]
    content = io.BytesIO()
    arrays = {
        "image": found.images, "target": targets, "latents": found.latents, "psnr": found.psnr,
        "distances": found.distances, "space": np.array(found.space),
    }  # fmt: skip
    if found.labels is not None:
        arrays["label"] = found.labels
    np.savez_compressed(content, **arrays)  # pyright: ignore[reportArgumentType]
    return {
        "found.png": png_bytes(pairs(targets, found.images)),
        "way.gif": clip_gif(frames, [_FRAME] * (len(frames) - 1) + [_LAST]),
        "distance.svg": svg_file(_chart(found.distances)),
        "projection.npz": content.getvalue(),
    }


def pairs(targets: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Returns a grid with each target on the left of its image, uint8 `[H', W', 3]`."""
    both = np.stack([targets, images], axis=1).reshape(-1, *images.shape[1:])
    return report.grid(both, columns=2 * math.ceil(math.sqrt(len(images) / 2)))


def _chart(distances: np.ndarray) -> str:
    """Returns a chart of the distance by step: a line for each image, or of many the nearest to the farthest."""
    steps, count = distances.shape
    if count <= _LINES:
        lines = {f"image {i}": distances[:, i] for i in range(count)}
    else:
        quantiles = np.quantile(distances, [0, 0.5, 1], axis=1)
        lines = dict(zip(("nearest", "median", "farthest"), quantiles))
    points = {
        name: [(step + 1, float(y) if math.isfinite(y) else None) for step, y in zip(range(steps), values)]
        for name, values in lines.items()
    }
    return line_chart(points, "step", "distance")
