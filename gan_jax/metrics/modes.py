"""Mode coverage: the modes of a known mixture, or the classes that a classifier names."""

from typing import NamedTuple

import numpy as np


class Modes(NamedTuple):
    """Modes that samples reach.

    Attributes:
        found: the number of modes with enough samples near them.
        share: the share of samples that lie near a mode.
    """

    found: int
    share: float


def mode_coverage(samples: np.ndarray, centers: np.ndarray, sigma: float, least: int = 20) -> Modes:
    """Counts the modes that samples reach, and the samples that lie near a mode: within 3 `sigma` of its center.

    Srivastava et al., "VEEGAN", 2017, count a mode that has one sample. With 10,000 samples and 25 modes an equal
    share is 400 samples, and `least=20` demands a twentieth of it.

    Args:
        samples: `[N, D]`.
        centers: of the modes, `[M, D]`.
        sigma: standard deviation of a mode, in the samples' units.
        least: samples that a mode needs to count as found.
    """
    distances = np.linalg.norm(samples[:, None, :] - centers[None], axis=-1)  # [N, M]
    nearest, near = distances.argmin(axis=1), distances.min(axis=1) <= 3 * sigma
    counts = np.bincount(nearest[near], minlength=len(centers))
    return Modes(found=int((counts >= least).sum()), share=float(near.mean()))


class ClassCoverage(NamedTuple):
    """Classes that samples reach.

    Attributes:
        found: the number of classes with enough samples.
        classes: the number of all classes.
        kl: KL(samples || data) of the class histograms, in nats; 0 if they are equal.
    """

    found: int
    classes: int
    kl: float


def class_coverage(
    labels: np.ndarray, classes: int, reference: np.ndarray | None = None, least: int = 1
) -> ClassCoverage:
    """Counts the classes of generated samples, and computes `KL(p || q) = sum_c p_c log(p_c / q_c)`.

    p is the histogram of `labels`, q that of the data, or uniform. On stacked digits (three digits in three
    channels, 1000 classes) with the labels of a classifier, this is the protocol of Srivastava et al., "VEEGAN",
    2017; papers use 26,000 or 25,600 samples. Few samples raise the divergence: N samples of q itself have one of
    about (classes - 1) / (2 N).

    Args:
        labels: integers `[N]` in [0, classes).
        classes: the number of classes.
        reference: the data's counts or shares, `[classes]`; None is uniform. If a generated class has a share of
            0 there, the divergence is infinite.
        least: samples that a class needs to count as found.

    Raises:
        ValueError: there are no labels, they are no integers in [0, classes), or the reference is no histogram.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers [N], N at least 1, got {labels.dtype} of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be in [0, {classes}), got values from {labels.min()} to {labels.max()}")
    shares = np.ones(classes) if reference is None else np.asarray(reference, np.float64)
    if shares.shape != (classes,) or not np.isfinite(shares).all() or shares.min() < 0 or shares.sum() == 0:
        raise ValueError(f"reference must be counts or shares [{classes}], none negative and not all zero")
    counts = np.bincount(labels, minlength=classes)
    present = counts > 0
    p, q = counts[present] / counts.sum(), (shares / shares.sum())[present]
    with np.errstate(divide="ignore"):
        kl = float((p * np.log(p / q)).sum())
    return ClassCoverage(int((counts >= least).sum()), classes, max(kl, 0.0))
