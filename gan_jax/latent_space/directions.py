"""Directions in latent space along which images change in one way."""

from typing import NamedTuple

import numpy as np


class Directions(NamedTuple):
    """Directions in a space of latents.

    Attributes:
        method: "sefa", "pca" or "classes".
        space: "z" or "w".
        names: of the directions, K.
        vectors: `[K, N]` float32, each of length 1.
        scales: `[K]` float32, the distance along each that is a typical move: one standard deviation of latents.
    """

    method: str
    space: str
    names: tuple[str, ...]
    vectors: np.ndarray
    scales: np.ndarray
