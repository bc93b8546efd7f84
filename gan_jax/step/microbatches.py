"""Gradient accumulation: the gradient of an update as the mean over parts of its batch."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from ..errors import NeedsWholeBatch
from ..pytree import widened
from ..types import AxisName, PyTree
from .devices import vary

Inputs = TypeVar("Inputs")
Result = tuple[PyTree, PyTree, PyTree, PyTree]


def over_microbatches(
    function: Callable[[PyTree, Inputs], Result],
    carry: PyTree,
    inputs: Inputs,
    count: int,
    axis_name: AxisName | None = None,
) -> Result:
    """Applies `function(carry, inputs) -> (gradients, carry, logit, metrics)` to `count` parts of the batch.

    Gradients and metrics are means over the parts: the mean over the whole batch, if samples do not mix. The carry
    (model state) goes from part to part. Part j has samples j, j + count, ..., so that each device of a sharded
    batch works on every part.

    Raises:
        ValueError: `count` does not divide the batch.
    """
    if count == 1:
        return function(carry, inputs)
    size = jax.tree.leaves(inputs)[0].shape[0]
    if size % count:
        kind = ValueError if axis_name is None else NeedsWholeBatch
        raise kind(f"{count} microbatches do not divide a batch of {size} (per device): change either")
    parts = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(size // count, count, *x.shape[1:]), 1, 0), inputs)
    # Sums of 16-bit gradients would round each part away.
    shapes = jax.eval_shape(function, carry, jax.tree.map(lambda x: x[0], parts))[0]
    zeros = vary(widened(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)), axis_name)

    def body(state: tuple, part: Inputs) -> tuple:
        carry, total = state
        gradients, carry, logit, metrics = function(carry, part)
        return (carry, jax.tree.map(jnp.add, total, widened(gradients))), (logit, metrics)

    (carry, total), (logit, metrics) = lax.scan(body, (carry, zeros), parts)
    logit = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(size, *x.shape[2:]), logit)
    return (
        jax.tree.map(lambda x: x / count, total),
        carry,
        logit,
        jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics),
    )
