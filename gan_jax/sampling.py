"""Samples of a run: the same latents each time, so that pictures of different steps can be compared."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .ahead import Ahead
from .draws import Purpose, sample_keys
from .errors import UserError
from .gan import GAN
from .networks import accepted, sample_network
from .ops import compiler_options
from .precision import traced_with
from .types import Variables

_BLOCK = 256


class Sampler:
    """Draws samples of a game: sample i is a function of the seed, i and the variables.

    Labels, in a conditional game, go round: sample i has label i mod classes.

    Args:
        gan: the game.
        seed: of the latents.
        classes: the number of labels; None where the game has none.
        truncation: 1.0 for none.
        precision: of float32 products, see `gan_jax.precision.asked`; None for the platform's own.
        hurried: compile in a fraction of the time, for pictures that take somewhat longer each.

    Raises:
        UserError: truncation is asked of a generator that defines none.
    """

    def __init__(
        self,
        gan: GAN,
        seed: int,
        classes: int | None = None,
        truncation: float = 1.0,
        *,
        precision: str | None = None,
        hurried: bool = False,
    ):
        if truncation != 1.0 and not accepted(gan.generator, "apply", {"truncation": truncation}):
            raise UserError(
                f"truncation={truncation}, but {type(gan.generator).__name__} of "
                f"{type(gan.generator).__module__} defines none: leave it at 1.0"
            )
        self._key, self._classes = jax.random.key(seed), classes
        chosen = {} if truncation == 1.0 else {"truncation": truncation}

        def block(variables: Variables, index: jax.Array) -> jax.Array:
            latents = jax.vmap(gan.latent)(sample_keys(self._key, jnp.int32(0), Purpose.LATENT, index))
            labels = None if classes is None else index % classes
            keys = sample_keys(self._key, jnp.int32(0), Purpose.GENERATOR, index)
            extra = {"label": labels, "axis_name": None, "keys": keys, **chosen}
            return sample_network(gan.generator, variables, latents, **extra)

        options = compiler_options(once=True) if hurried else None
        self._block = jax.jit(traced_with(precision, block), compiler_options=options)
        self._compiled: dict[int, Callable[..., Any]] = {}

    def columns(self, count: int) -> int | None:
        """Columns for a picture of `count` samples: one a class where there are labels and it fits, else None."""
        return self._classes if self._classes is not None and self._classes <= min(count, 32) else None

    def compile(self, variables: Variables, count: int, ahead: Ahead) -> None:
        """Let `ahead` compile for calls with so many samples, and with variables of these shapes on one device."""
        size, device = min(count, _BLOCK), jax.tree.leaves(variables)[0].sharding
        index = jax.ShapeDtypeStruct((size,), jnp.int32, sharding=device)
        self._compiled[size] = ahead("picture", self._block.lower(variables, index))

    def __call__(self, variables: Variables, count: int, first: int = 0) -> np.ndarray:
        """Samples `first` to `first + count - 1`, float32 `[count, *S]`, on the host."""
        # One device is enough, and on several a program of its own could meet the step's collectives.
        variables = jax.tree.map(_one_device, variables)
        size = min(count, _BLOCK)
        block = self._compiled.get(size, self._block)
        blocks = []
        for start in range(0, count, size):
            index = np.arange(first + start, first + start + size, dtype=np.int32)  # one shape, one program
            blocks.append(np.asarray(block(variables, jax.device_put(index)))[: count - start])
        return np.concatenate(blocks)


def _one_device(x: Any) -> Any:
    return x.addressable_data(0) if isinstance(x, jax.Array) and len(x.sharding.device_set) > 1 else x
