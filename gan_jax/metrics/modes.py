"""Mode coverage of a mixture whose modes are known."""

from typing import NamedTuple

import numpy as np


class Modes(NamedTuple):
    """found: modes with at least `least` samples near. share: of all samples, those near a mode."""

    found: int
    share: float


def mode_coverage(samples: np.ndarray, centers: np.ndarray, sigma: float, least: int = 20) -> Modes:
    """How many modes samples reach, and how many samples lie near one: within 3 `sigma` of its centre.

    Srivastava et al., "VEEGAN", 2017, count a mode with one sample; with 10,000 samples of a 25-mode grid
    a mode's fair share is 400, so that `least` = 20 asks for a twentieth of it.

    Args:
        samples: `[N, D]`.
        centers: `[M, D]`.
        sigma: standard deviation of a mode, in the samples' units.
        least: samples that make a mode count.
    """
    distances = np.linalg.norm(samples[:, None, :] - centers[None], axis=-1)  # [N, M]
    nearest, near = distances.argmin(axis=1), distances.min(axis=1) <= 3 * sigma
    counts = np.bincount(nearest[near], minlength=len(centers))
    return Modes(found=int((counts >= least).sum()), share=float(near.mean()))
