"""Projection: finds the latents whose images are nearest to given images.

Karras et al., "Analyzing and improving the image quality of StyleGAN", 2020, appendix D, with several starts.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import pixels
from ..errors import UserError
from ..metrics.features.perceptual import PerceptualNetwork
from ..types import PyTree
from .generator import Space
from .images import LatentImages
from .objective import Plausible
from .search import Search, Settings, joined

_DRAWN = 4096  # latents that tell what is plausible
_NUMBERS = 2**23  # of all images in one program, at most


class Projection(NamedTuple):
    """What was found for B images.

    Attributes:
        latents: float32 `[B, *shape(space)]`.
        space: of the latents.
        labels: int32 `[B]`; None for a run without labels.
        noise: maps of noise, leaves `[B, h, w]`; None for a generator that draws none.
        images: what the latents show, uint8 `[B, H, W, C]`.
        distances: `[steps, B]`, of the nearest of the starts in each step. While the latents are shaken, in the
            first three quarters, so are the distances.
        frames: the image of the nearest start on the way, uint8 `[frames, B, H, W, C]`.
        psnr: of `images` and the given ones in dB, `[B]`; infinite where they are equal.
    """

    latents: np.ndarray
    space: Space
    labels: np.ndarray | None
    noise: PyTree
    images: np.ndarray
    distances: np.ndarray
    frames: np.ndarray
    psnr: np.ndarray


_DEFAULT = Settings()


def project(
    images: LatentImages,
    targets: np.ndarray,
    space: Space = "z",
    *,
    labels: Sequence[int] | np.ndarray | None = None,
    features: PerceptualNetwork | None = None,
    seed: int = 0,
    settings: Settings = _DEFAULT,
) -> Projection:
    """Finds latents whose images are nearest to `targets`. Each image is searched for as if it were alone.

    Args:
        images: of the run.
        targets: uint8 `[B, H, W, C]`, of the shape of the run's samples.
        space: that is searched: "z", "w" or "w+".
        labels: `[B]`, the classes; None: those of the nearest candidates, which are of all classes in turn.
        features: the network of the second part of the distance; None: pixels alone.
        seed: of the candidates and of the noise.
        settings: see `Settings`.

    Raises:
        UserError: the generator has no such space, the targets have another shape, or a setting is out of range.
    """
    settings.check()
    images.generator.check(space)
    if targets.dtype != np.uint8 or targets.shape[1:] != images.shape or not len(targets):
        raise UserError(f"the images to project have shape {targets.shape[1:]}, but the run's have {images.shape}")
    near = _nearest_candidates(images, targets, labels, seed, settings)
    z = images.latents(seed, _DRAWN)
    plausible = Plausible.of(z if space == "z" else images.map(z))
    search = Search(images, space, plausible, features, settings, seed)
    size = max(1, _NUMBERS // (settings.starts * int(np.prod(images.shape))))
    blocks = [slice(first, first + size) for first in range(0, len(targets), size)]
    found = joined([search(targets[block], *(x[block] for x in near)) for block in blocks])
    label = None if images.class_names is None else found.labels
    shown = images(found.latents, space=space, labels=label, noise_seed=seed, noise=found.noise)
    frames = pixels.to_uint8(found.frames)
    ratio = psnr(shown, targets)
    return Projection(found.latents, space, label, found.noise, shown, found.distances, frames, ratio)


def psnr(images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns the peak signal-to-noise ratio of uint8 images in dB, `[B]`: 10 log10(255^2 / mean square error)."""
    gaps = images.astype(np.float64) - targets
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / np.mean(gaps.reshape(len(gaps), -1) ** 2, axis=1))


def _nearest_candidates(
    images: LatentImages, targets: np.ndarray, labels: Any, seed: int, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the z of the candidates nearest to each target by pixels, `[B, starts, N]`, and their labels."""
    z = images.latents(seed, settings.candidates)
    flat = targets.reshape(len(targets), -1).astype(np.float32)

    def nearest(rows: np.ndarray, label: np.ndarray | None) -> np.ndarray:
        """Returns the numbers of the candidates for some targets, `[rows, starts]`."""
        shown = images(z, labels=label, noise_seed=seed).reshape(len(z), -1).astype(np.float32)
        gaps = np.sum(shown**2, axis=1) - 2 * flat[rows] @ shown.T
        return np.argsort(gaps, axis=1, kind="stable")[:, : settings.starts]

    every = np.arange(len(targets))
    if images.class_names is None or labels is None:
        chosen = nearest(every, None)
        return z[chosen], (chosen % len(images.class_names or "0")).astype(np.int32)
    given = np.broadcast_to(np.asarray(labels, np.int32), (len(targets),))
    chosen = np.zeros((len(targets), settings.starts), np.int64)
    for label in np.unique(given):
        rows = every[given == label]
        chosen[rows] = nearest(rows, np.full(len(z), label))
    return z[chosen], np.repeat(given[:, None], settings.starts, axis=1)
