"""Whether a run is going anywhere: signs that the discriminator has won, or that all samples look alike."""

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

_WON = 0.01  # of the discriminator's loss where it can't tell reals from samples
_MOST = 10.0  # that this is, of any loss in use
_GONE = 1e-4  # of the gradient the generator had
_BEFORE = 50  # lines of the log that tell what it had: their median, since single ones jump
_COLLAPSED = 0.05  # of the reals' distance from each other
_REALS = 64
_LINES = 3  # in a row, before anything is said


class Health:
    """Watches the lines of the log and the pictures; each sign is named once, until it has gone away.

    Args:
        loss: of the game.
        source: of the reals.
    """

    def __init__(self, loss: Loss, source: Source):
        self._loss, self._source = loss, source
        self._gradients: deque[float] = deque(maxlen=_BEFORE)
        self._won = self._alike = 0

    def line(self, means: Mapping[str, float]) -> str | None:
        """What to say after a line of the log with such means, if anything.

        The discriminator has won where its loss stays under 1 % of what it is without a clue (a loss that has no
        such value, as WGAN's, is not looked at), or the generator's gradient has all but gone.
        """
        loss, gradient = means.get("loss/discriminator", math.nan), means.get("grad_norm/generator", math.nan)
        # What a guess costs takes a compilation, so nobody asks before it can matter.
        won = 0 <= loss < _WON * _MOST and loss < _WON * self._chance
        before = statistics.median(self._gradients) if self._gradients else 0.0
        gone = gradient < _GONE * before
        if math.isfinite(gradient) and not gone:
            self._gradients.append(gradient)
        self._won = self._won + 1 if won or gone else 0
        if self._won != _LINES:
            return None
        signs = [f"its loss is {loss:.2g}, where {self._chance:.2g} is a guess"] if won else []
        signs += [f"the generator's gradient is {gradient:.2g}, and was {before:.2g}"] if gone else []
        return (
            f"warning: the discriminator has won ({'; '.join(signs)}), so the generator learns nothing: try a "
            "gradient penalty (discriminator_terms, r1), a lower learning rate for the discriminator, or "
            "augmentation where there are few images"
        )

    @functools.cached_property
    def _chance(self) -> float:
        """The discriminator's loss where it can't tell reals from samples; 0 where that isn't known."""
        # On the host, and so not behind the steps that are under way; the training loop allows nothing but its
        # batches on their way to a device.
        with jax.transfer_guard_host_to_device("allow"), on_host():
            nothing = jnp.zeros(2)
            try:
                return float(self._loss.discriminator(nothing, nothing))
            except (TypeError, ValueError, AttributeError):  # a loss may own the structure of its logits
                return 0.0

    @functools.cached_property
    def _distance(self) -> float:
        """Of reals from each other, in the generator's range."""
        # From all over the set: folders are sorted, and neighbours may be of one class.
        rows = np.linspace(0, len(self._source) - 1, min(_REALS, len(self._source))).astype(int)
        reals = read_rows(self._source, rows)["image"]
        return distance(reals) / (127.5 if reals.dtype == np.uint8 else 1.0)

    def samples(self, samples: np.ndarray) -> str | None:
        """What to say after a picture of such samples, `[N, *S]`, if anything."""
        now = distance(samples)
        self._alike = self._alike + 1 if now < _COLLAPSED * self._distance else 0
        if self._alike != _LINES:
            return None
        return (
            f"warning: the samples have collapsed: they are {now:.2g} from each other, and the reals "
            f"{self._distance:.2g}: go back to an earlier checkpoint, and try a gradient penalty "
            "(discriminator_terms, r1), lower learning rates or a larger batch"
        )


def distance(samples: np.ndarray) -> float:
    """The root mean square distance between two of the samples, per number of a sample."""
    flat = np.asarray(samples, np.float64).reshape(len(samples), -1)
    if len(flat) < 2:
        return math.nan
    return math.sqrt(2.0 * flat.var(axis=0, ddof=1).mean())
