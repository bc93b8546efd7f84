"""What a GAN has learned: pytrees of arrays and nothing else."""

import jax
from flax import struct

from .types import Key, PyTree


class PlayerState(struct.PyTreeNode):
    """The state of one player.

    Attributes:
        params: what the optimizer updates.
        model_state: the network's other collections (batch statistics, the vectors of spectral norm).
        opt_state: the state of the optimizer.
        penalties: one state for each of the player's terms.
    """

    params: PyTree
    model_state: dict[str, PyTree]
    opt_state: PyTree
    penalties: tuple[PyTree, ...]

    @property
    def variables(self) -> dict[str, PyTree]:
        """What the network's `apply` takes: the parameters and the model state."""
        return {"params": self.params, **self.model_state}


class GANState(struct.PyTreeNode):
    """The whole state of a run.

    Attributes:
        step: int32, the number of steps done.
        key: never changes. Every draw is folded from it, the step and the sample's index.
        generator, discriminator: the players.
        ema: the generator's variables, with the moving average of `params` and `batch_stats`.
        augment: the state of the augmentation.
    """

    step: jax.Array
    key: Key
    generator: PlayerState
    discriminator: PlayerState
    ema: dict[str, PyTree]
    augment: PyTree
