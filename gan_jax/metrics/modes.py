"""Mode coverage: of a mixture whose modes are known, and of classes by a classifier's labels."""

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


class ClassCoverage(NamedTuple):
    """found: how many of `classes` have at least `least` samples. kl: in nats, 0 for the data's own shares."""

    found: int
    classes: int
    kl: float


def class_coverage(
    labels: np.ndarray, classes: int, reference: np.ndarray | None = None, least: int = 1
) -> ClassCoverage:
    """How many classes the labels of generated samples reach, and `KL(p || q) = sum_c p_c log(p_c / q_c)`.

    p is the labels' histogram; q is the data's, or uniform. On stacked digits (three in three channels, 1000
    classes) this is the protocol of Srivastava et al., "VEEGAN", 2017: the labels are a classifier's, and papers
    give 26,000 samples (25,600 in others). Few samples raise the divergence: the histogram of N samples of q
    itself has about (classes - 1) / (2 N).

    Args:
        labels: integers `[N]` in [0, classes).
        classes: how many there are.
        reference: the data's counts or shares, `[classes]`; None: uniform. The divergence is infinite where a
            generated class has none.
        least: samples that make a class count as found.

    Raises:
        ValueError: no labels, labels that are not such integers, or a reference that is no histogram.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers [N], N at least 1, got {labels.dtype} {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be in [0, {classes}), got {labels.min()} to {labels.max()}")
    shares = np.ones(classes) if reference is None else np.asarray(reference, np.float64)
    if shares.shape != (classes,) or not np.isfinite(shares).all() or shares.min() < 0 or shares.sum() == 0:
        raise ValueError(f"reference must be counts or shares [{classes}], none negative and not all zero")
    counts = np.bincount(labels, minlength=classes)
    made = counts > 0
    p, q = counts[made] / counts.sum(), (shares / shares.sum())[made]
    with np.errstate(divide="ignore"):
        kl = float((p * np.log(p / q)).sum())
    return ClassCoverage(int((counts >= least).sum()), classes, max(kl, 0.0))
