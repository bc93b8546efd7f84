"""Mixtures of two-dimensional Gaussians, whose modes can be counted."""

import math
from typing import Literal

import numpy as np

from ..errors import UserError
from .arrays import Arrays
from .source import MAX_ROWS

Layout = Literal["grid", "ring"]


class Mixture(Arrays):
    """A source of samples from a mixture: `centers` float32 [M, 2], all with the standard deviation `sigma`."""

    def __init__(self, name: str, image: np.ndarray, label: np.ndarray, centers: np.ndarray, sigma: float):
        super().__init__(name, image, label, len(centers))
        self.centers, self.sigma = centers, sigma


def gaussians(
    layout: Layout = "grid",
    modes: int | None = None,
    sigma: float | None = None,
    spacing: float = 2.0,
    radius: float = 2.0,
    count: int = 100_000,
    seed: int = 0,
) -> Mixture:
    """Returns a source of `count` fixed float32 samples (2,) of a mixture of round Gaussians.

    "grid" has 25 modes, 5 x 5 with `spacing` 2 around 0 and sigma 0.05. "ring" has 8 modes on a circle of
    `radius` 2, with sigma 0.02. Sample i belongs to mode i mod M, which is its label, so all modes have the same
    weight. The samples are not normalised. VEEGAN (Srivastava et al., 2017, arXiv:1705.07761) and Unrolled GAN
    (Metz et al., 2017, arXiv:1611.02163) are tested on these mixtures.
    """
    means = centers(layout, modes, spacing, radius)
    deviation = {"grid": 0.05, "ring": 0.02}[layout] if sigma is None else sigma
    if deviation < 0:
        raise UserError(f"sigma of the gaussians must be at least 0, not {deviation}")
    if count < 1:
        raise UserError(f"count of the gaussians must be at least 1, not {count}")
    if count > MAX_ROWS:
        raise UserError(f"count of the gaussians must be at most {MAX_ROWS}, not {count}")
    label = (np.arange(count) % len(means)).astype(np.int32)
    noise = np.random.default_rng(seed).standard_normal((count, 2))
    with np.errstate(over="ignore", invalid="ignore"):
        samples = means[label] + deviation * noise
    samples = _float32(samples)
    name = f"gaussians layout={layout} modes={len(means)} sigma={deviation:g} seed={seed}"
    return Mixture(name, samples, label, means, deviation)


def centers(
    layout: Layout = "grid", modes: int | None = None, spacing: float = 2.0, radius: float = 2.0
) -> np.ndarray:
    """Returns the centers of the modes of `gaussians` with the same options: float32 [M, 2].

    In the grid y changes fastest; the ring starts at (radius, 0) and runs counterclockwise.
    """
    if layout not in ("grid", "ring"):
        raise UserError(f"layout of the gaussians must be grid or ring, not '{layout}'")
    number = modes if modes is not None else {"grid": 25, "ring": 8}[layout]
    if number < 1:
        raise UserError(f"modes of the gaussians must be at least 1, not {number}")
    if number > MAX_ROWS:
        raise UserError(f"modes of the gaussians must be at most {MAX_ROWS}, not {number}")
    if layout == "ring":
        angles = 2 * np.pi * np.arange(number) / number
        return _float32(radius * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    side = math.isqrt(number)
    if side * side != number:
        raise UserError(f"modes of a grid of gaussians must be a square number, not {number}")
    line = spacing * (np.arange(side) - (side - 1) / 2)
    return _float32(np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2))


def _float32(points: np.ndarray) -> np.ndarray:
    if not (np.abs(points) <= np.finfo(np.float32).max).all():
        raise UserError("the gaussians lie beyond float32: give a smaller sigma, spacing or radius")
    return points.astype(np.float32)
