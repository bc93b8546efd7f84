"""Recomputation: a derivative computes activations again instead of keeping them in memory.

Chen et al., "Training deep nets with sublinear memory cost", 2016. It acts on derivatives of every order, so also
on gradient penalties. Parameters, their names and their initial values stay the same.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np
from flax import linen as nn

from .base import check_choice

Remat = Literal["none", "blocks", "all"]
"""What a derivative of a network recomputes.

"none": nothing; "blocks": the inside of each block, so only what passes from one block to the next is kept; "all":
the whole network, and then each block again, so only its inputs are kept.
"""


def recomputed(function: Callable, when: bool) -> Callable:
    """Returns `function(module, *arrays)`, whose derivatives recompute it if `when`.

    The function may create layers of the compact module. It must close over what is no array, such as `train`.
    """
    return nn.remat(function) if when else function


def recomputable(call: Callable) -> Callable:
    """Decorates `__call__` of a compact module: its derivatives recompute it if its attribute `remat` says so.

    `remat` is a bool in a block, and a `Remat` in a network, where "all" says so.
    """

    @functools.wraps(call)
    def wrapped(self: Any, *args: Any, **keywords: Any) -> Any:
        if not isinstance(self.remat, bool):
            check_choice("remat", self.remat, Remat)
        if self.remat not in (True, "all") or self.is_initializing():
            return call(self, *args, **keywords)
        leaves, structure = jax.tree.flatten((args, keywords))
        traced = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray)]

        def run(module: nn.Module, *arrays: jax.Array) -> Any:
            filled = list(leaves)
            for i, array in zip(traced, arrays, strict=True):
                filled[i] = array
            args, keywords = jax.tree.unflatten(structure, filled)
            return call(module, *args, **keywords)

        return nn.remat(run)(self, *(leaves[i] for i in traced))

    return wrapped
