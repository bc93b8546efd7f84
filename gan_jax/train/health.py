"""Warns if training has failed: the discriminator has won, or samples look alike."""

import functools
import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..data.classes import labels_of, list_names
from ..data.loader import read_rows
from ..data.order import on_host
from ..data.source import Source, class_names
from ..losses import Loss

_WON = 0.01  # D's loss, as a share of its loss if it cannot tell real images from generated ones
_LARGEST_CHANCE = 10.0  # an upper bound of the latter, for any loss in use
_VANISHED = 1e-4  # the generator's gradient, as a share of its median before
_HISTORY = 50  # lines of the log in this median; single ones jump
_COLLAPSED = 0.05  # the distance between samples, as a share of the distance between real images
_REALS = 64
_REALS_OF_CLASS = 16
_ENOUGH = 4  # samples of a class: fewer may be alike by chance
_ADVICE = (
    "go back to an earlier checkpoint, and try a gradient penalty (discriminator_terms, r1), lower learning rates "
    "or a larger batch"
)
_LINES = 3  # a sign is named if it is there this often in a row


class Health:
    """Watches the log and the sample grids. Each sign is named once, and again after it went away.

    Args:
        loss: of the GAN.
        source: the real data.
        labels: of the samples, in turn; None if they have none.
    """

    def __init__(self, loss: Loss, source: Source, labels: Sequence[int] | np.ndarray | None = None):
        self._loss, self._source = loss, source
        self._labels = None if labels is None else np.asarray(labels)
        self._gradients: deque[float] = deque(maxlen=_HISTORY)
        self._won = self._alike = self._alike_in_classes = 0

    def line(self, means: Mapping[str, float]) -> str | None:
        """Returns a warning about a line of the log with these means, or None.

        The discriminator has won if its loss stays under 1 % of its loss by chance, or if the generator's gradient
        has almost vanished. A loss without such a value, such as WGAN's, is not checked.
        """
        loss, gradient = means.get("loss/discriminator", math.nan), means.get("grad_norm/generator", math.nan)
        # The loss by chance costs a compilation, so it is computed only if it can matter.
        won = 0 <= loss < _WON * _LARGEST_CHANCE and loss < _WON * self._chance
        before = statistics.median(self._gradients) if self._gradients else 0.0
        vanished = gradient < _VANISHED * before
        if math.isfinite(gradient) and not vanished:
            self._gradients.append(gradient)
        self._won = self._won + 1 if won or vanished else 0
        if self._won != _LINES:
            return None
        signs = [f"its loss is {loss:.2g}, and {self._chance:.2g} is chance"] if won else []
        signs += [f"the generator's gradient is {gradient:.2g}, and was {before:.2g}"] if vanished else []
        return (
            f"warning: the discriminator has won ({'; '.join(signs)}), so the generator learns nothing: try a "
            "gradient penalty (discriminator_terms, r1), a lower learning rate for the discriminator, or "
            "augmentation if there are few images"
        )

    @functools.cached_property
    def _chance(self) -> float:
        """The discriminator's loss if it cannot tell real images from generated ones; 0 if that is not known."""
        # On the host it does not wait for the steps under way. The training loop sends nothing to a device but its
        # batches, so this is allowed explicitly.
        with jax.transfer_guard_host_to_device("allow"), on_host():
            logits = jnp.zeros(2)
            try:
                return float(self._loss.discriminator(logits, logits))
            except (TypeError, ValueError, AttributeError):  # a loss may want logits of another structure
                return 0.0

    @functools.cached_property
    def _distance(self) -> float:
        """The distance between real images, in the range of the generator's images."""
        # Rows from the whole set: folders are sorted, so neighbours may be of one class.
        rows = np.linspace(0, len(self._source) - 1, min(_REALS, len(self._source))).astype(int)
        return _distance_of_reals(read_rows(self._source, rows)["image"])

    @functools.cached_property
    def _distances(self) -> dict[int, float]:
        """The distance between real images of each class of the samples."""
        label, images = labels_of(self._source), None
        rows = np.arange(len(self._source) if label is None else len(label))
        if label is None:  # a set on disk: look for the classes in a part of it
            rows = rows[np.linspace(0, len(rows) - 1, min(4 * _REALS, len(rows))).astype(int)]
            read = read_rows(self._source, rows)
            label, images = read["label"], read["image"]
        distances = {}
        for number in sorted(set(() if self._labels is None else self._labels.tolist())):
            places = np.flatnonzero(label == number)
            if len(places) < 2:
                continue
            chosen = places[np.linspace(0, len(places) - 1, min(_REALS_OF_CLASS, len(places))).astype(int)]
            of_class = read_rows(self._source, rows[chosen])["image"] if images is None else images[chosen]
            distances[number] = _distance_of_reals(of_class)
        return distances

    def samples(self, samples: np.ndarray) -> str | None:
        """Returns a warning about a sample grid of these samples, `[N, *S]`, or None."""
        now = distance(samples)
        self._alike = self._alike + 1 if now < _COLLAPSED * self._distance else 0
        within, collapsed = self._collapsed_classes(samples)
        self._alike_in_classes = self._alike_in_classes + 1 if collapsed else 0
        if self._alike == _LINES:
            return (
                f"warning: the samples have collapsed: their distance is {now:.2g}, and that of real images "
                f"{self._distance:.2g}: {_ADVICE}"
            )
        if self._alike_in_classes != _LINES or self._alike > _LINES:
            return None
        names = class_names(self._source) or ()
        listed = list_names([names[number] for number in collapsed], most=6)
        which = f"class {listed}" if len(collapsed) == 1 else f"classes {listed}"
        of_reals = self._distances[collapsed[0]]
        first = "" if len(collapsed) == 1 else f" of {list_names([names[collapsed[0]]])}"
        return (
            f"warning: the samples of the {which} have collapsed: the distance{first} is "
            f"{within[collapsed[0]]:.2g}, and that of its real images {of_reals:.2g}: {_ADVICE}"
        )

    def _collapsed_classes(self, samples: np.ndarray) -> tuple[dict[int, float], list[int]]:
        """Returns the distance between the samples of each class, and the classes whose samples look alike."""
        if self._labels is None:
            return {}, []
        label = self._labels[np.arange(len(samples)) % len(self._labels)]
        counts = dict(zip(*(part.tolist() for part in np.unique(label, return_counts=True)), strict=True))
        if max(counts.values()) < 2:
            return {}, []
        within = {
            number: distance(samples[label == number])
            for number, count in counts.items()
            if count > 1 and number in self._distances
        }
        collapsed = [number for number, now in within.items() if now < _COLLAPSED * self._distances[number]]
        if 2 * len(collapsed) <= len(within):  # in most classes it is no chance, however few samples they have
            collapsed = [number for number in collapsed if counts[number] >= _ENOUGH]
        return within, collapsed


def _distance_of_reals(images: np.ndarray) -> float:
    """Returns the distance between real images, in the range of the generator's images."""
    return distance(images) / (127.5 if images.dtype == np.uint8 else 1.0)


def distance(samples: np.ndarray) -> float:
    """Returns the root mean square distance between two samples, per element of a sample."""
    flat = np.asarray(samples, np.float64).reshape(len(samples), -1)
    if len(flat) < 2:
        return math.nan
    return math.sqrt(2.0 * flat.var(axis=0, ddof=1).mean())
