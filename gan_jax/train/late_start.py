"""What is said before training about adversarial losses that begin late (`generator_weight` and its like)."""

import jax
import jax.numpy as jnp
import numpy as np

from ..config import Config
from ..gan import GAN, Weight

_MOST = 4096  # steps at which a schedule is read


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
    """Returns the first step with a weight above 0 (of long runs, to 1/4096 of the run); None: there is none."""
    if not callable(weight) or not config.steps:
        return 0
    steps = np.unique(np.linspace(0, config.steps - 1, min(_MOST, config.steps)).astype(int))
    positive = np.asarray(jax.vmap(weight)(jnp.asarray(steps * config.batch, jnp.float32)) > 0)
    return int(steps[np.argmax(positive)]) if positive.any() else None
