"""The norm of all gradients of a player, in few passes over them."""

import functools
import operator

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ..types import PyTree, Scalar

_LANES = 128  # partial sums of an array


def global_norm(grads: PyTree) -> Scalar:
    """Returns the Euclidean norm of all numbers in `grads`, as `optax.tree.norm` does.

    On an accelerator each array gives a vector of partial sums, and one kernel sums these. Optax's form needs a
    kernel more for each array. The CPU keeps Optax's, so that its metrics keep their bits. It computes the squares
    for the norm alone: Adam needs them too, and an array of squares that both read would cost more.
    """
    if not jax.tree.leaves(grads):
        return jnp.zeros(())
    return lax.platform_dependent(grads, cpu=_norm_alone, default=norm_by_lanes)


def _norm_alone(grads: PyTree) -> Scalar:
    return optax.tree.norm(lax.optimization_barrier(grads))


def norm_by_lanes(grads: PyTree) -> Scalar:
    """Computes `global_norm` from `_LANES` partial sums of each array."""

    def partial_sums(leaf: jax.Array) -> jax.Array:
        flat = jnp.pad(leaf.ravel(), (0, -leaf.size % _LANES)).reshape(_LANES, -1)
        return jnp.sum(jnp.abs(flat) ** 2, axis=1)

    return jnp.sqrt(jnp.sum(functools.reduce(operator.add, map(partial_sums, jax.tree.leaves(grads)))))
