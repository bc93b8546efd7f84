"""Warns if training has failed: the discriminator has won, or all samples look alike."""

import functools
import math
import statistics
from collections import deque
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ..data.loader import read_rows
from ..data.order import on_host
from ..data.source import Source
from ..losses import Loss

_WON = 0.01  # D's loss, as a share of its loss if it cannot tell real images from generated ones
_LARGEST_CHANCE = 10.0  # an upper bound of the latter, for any loss in use
_VANISHED = 1e-4  # the generator's gradient, as a share of its median before
_HISTORY = 50  # lines of the log in this median; single ones jump
_COLLAPSED = 0.05  # the distance between samples, as a share of the distance between real images
_REALS = 64
_LINES = 3  # a sign is named if it is there this often in a row


class Health:
    """Watches the log and the sample grids. Each sign is named once, and again after it went away.

    Args:
        loss: of the GAN.
        source: the real data.
    """

    def __init__(self, loss: Loss, source: Source):
        self._loss, self._source = loss, source
        self._gradients: deque[float] = deque(maxlen=_HISTORY)
        self._won = self._alike = 0

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
        reals = read_rows(self._source, rows)["image"]
        return distance(reals) / (127.5 if reals.dtype == np.uint8 else 1.0)

    def samples(self, samples: np.ndarray) -> str | None:
        """Returns a warning about a sample grid of these samples, `[N, *S]`, or None."""
        now = distance(samples)
        self._alike = self._alike + 1 if now < _COLLAPSED * self._distance else 0
        if self._alike != _LINES:
            return None
        return (
            f"warning: the samples have collapsed: their distance is {now:.2g}, and that of real images "
            f"{self._distance:.2g}: go back to an earlier checkpoint, and try a gradient penalty "
            "(discriminator_terms, r1), lower learning rates or a larger batch"
        )


def distance(samples: np.ndarray) -> float:
    """Returns the root mean square distance between two samples, per element of a sample."""
    flat = np.asarray(samples, np.float64).reshape(len(samples), -1)
    if len(flat) < 2:
        return math.nan
    return math.sqrt(2.0 * flat.var(axis=0, ddof=1).mean())
