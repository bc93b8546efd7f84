"""What is said before training about adversarial losses that begin late (`generator_weight` and its like)."""

import jax
import jax.numpy as jnp
import numpy as np

from ..config import Config
from ..gan import GAN, Weight

_BLOCK = 2**16  # steps at which a schedule is read at once
_MOST = 2**31  # a step is an int32


def late_starts(config: Config, gan: GAN) -> list[str]:
    """Returns a line for each player whose adversarial loss begins late, or never."""
    lines = []
    for player, what in (
        ("generator", "hears nothing of the discriminator"),
        ("discriminator", "does not change"),
    ):
        first = _first_step(getattr(gan, f"{player}_weight"), config)
        if first is None:
            lines.append(f"note: {player}_weight is 0 in all {config.steps} steps, so the {player} {what}")
        elif first > 0:
            lines.append(f"note: {player}_weight is 0 before step {first}: until then the {player} {what}")
    return lines


def _first_step(weight: Weight, config: Config) -> int | None:
    """Returns the first step with a weight above 0; None: there is none."""
    if not callable(weight) or not config.steps:
        return 0

    @jax.jit
    def weights(first: jax.Array) -> jax.Array:
        steps = first + jnp.arange(_BLOCK)
        return jax.vmap(weight)(steps.astype(float) * config.batch)  # as in the step

    for first in range(0, min(config.steps, _MOST), _BLOCK):
        positive = np.asarray(weights(jnp.int32(first)))[: config.steps - first] > 0
        if positive.any():
            return first + int(np.argmax(positive))
    return None
