"""What a game has learned: pytrees of arrays and nothing else."""

from typing import Any

import jax
from flax import struct

from .types import Key, PyTree


class PlayerState(struct.PyTreeNode):
    """One player.

    Attributes:
        params: what the optimizer moves.
        model_state: the network's other collections (batch statistics, the vectors of spectral norm).
        opt_state: the optimizer's state.
        penalties: one state for each of the player's penalties.
    """

    params: PyTree
    model_state: dict[str, Any]
    opt_state: PyTree
    penalties: tuple[PyTree, ...]

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, **self.model_state}


class GANState(struct.PyTreeNode):
    """The whole state of a run.

    Attributes:
        step: int32, the steps done.
        key: never advances; every draw is folded from it, the step and the sample's index.
        generator, discriminator: the players.
        ema: a whole set of the generator's variables, `params` and `batch_stats` averaged.
        augment: the augmentation's state.
    """

    step: jax.Array
    key: Key
    generator: PlayerState
    discriminator: PlayerState
    ema: dict[str, Any]
    augment: PyTree
