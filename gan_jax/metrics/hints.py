"""Sentences on numbers that cannot mean anything yet, because of too few images."""

from collections.abc import Iterator, Mapping

FEW = 1000  # images of a set, below which chance moves every metric much
_PER_NEIGHBOUR = 20  # images for each of the k neighbours of precision and recall
_BALLS = ("precision", "recall", "density", "coverage")


def hints(metric: str, value: float, counts: Mapping[str, int], *, k: int = 0, size: int = 0) -> Iterator[str]:
    """Yields what a reader must know before trusting a number.

    Args:
        metric: name of the number.
        value: the number.
        counts: the number of images of each set, by the name of the set.
        k: the neighbours of precision and recall; 0 for other metrics.
        size: the number of features; 0: not known.
    """
    fewest = min(counts, key=lambda name: counts[name])
    count = counts[fewest]
    if metric == "frechet" and count <= size:
        yield (
            f"frechet: {fewest} has {count:,} images for {size:,} features. Its covariance is singular, and the "
            f"distance is too large: use more than {size:,} images, or kernel"
        )
    if metric in ("kernel", "kernel_full") and value < 0:
        yield f"{metric}: an unbiased estimate may be negative. It means that no difference is found"
    if metric in _BALLS and count < _PER_NEIGHBOUR * k:
        yield (
            f"prdc: {fewest} has {count:,} images for k = {k} neighbours. Its balls are wide, and the numbers too "
            f"large: use {_PER_NEIGHBOUR * k:,} images or more"
        )
    if count < FEW:
        yield f"{fewest} has {count:,} images. Below {FEW:,}, chance moves these numbers: use more"
