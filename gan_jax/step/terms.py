"""The weighted sum of a player's penalties."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from ..checks import axis_keyword
from ..penalties import Penalty, Term
from ..types import AxisName, Metrics, PyTree, Scalar, Schedule
from .devices import vary
from .samples_apart import check_penalty


def weighted_sum(
    terms: Sequence[Term[float | jax.Array | Schedule, Penalty]],
    states: tuple[PyTree, ...],
    arguments: tuple[PyTree, ...],
    step: jax.Array,
    images: jax.Array,
    axis_name: AxisName | None = None,
) -> tuple[Scalar, tuple[PyTree, ...], Metrics]:
    """Returns the weighted sum of the penalties, their new states and their metrics.

    `penalty/<name>` is the value without its weight; it is 0 on a step on which a lazy penalty is not computed.
    `applied/<name>`, which only lazy penalties have, is 1 on a step on which it is computed and 0 on the others,
    so that a mean can leave those out.

    Args:
        terms: of one player.
        states: one for each term.
        arguments: what `Penalty.apply` gets after its state.
        step: number of this step.
        images: images seen, for schedules.
        axis_name: the device axis under `pmap`, else None.
    """
    total, new_states, metrics = jnp.zeros(()), [], {}
    for term, state in zip(terms, states, strict=True):
        penalty, every = term.penalty, term.every
        if axis_name is not None:
            check_penalty(penalty, state, arguments)
        apply = functools.partial(_apply, penalty, arguments, axis_name)
        if every == 1:
            value, state = apply(state)
        else:
            due = step % every == 0
            dtype = jax.eval_shape(apply, state)[0].dtype
            rest = functools.partial(_rest, dtype, axis_name)
            value, state = lax.cond(due, apply, rest, state)
            metrics[f"applied/{penalty.name}"] = due.astype(jnp.float32)
        metrics[f"penalty/{penalty.name}"] = value
        weight = term.weight(images) if callable(term.weight) else term.weight
        total = total + jnp.asarray(weight) * every * value
        new_states.append(state)
    return total, tuple(new_states), metrics


def _apply(penalty: Penalty, arguments: tuple, axis_name: AxisName | None, state: PyTree) -> tuple[Scalar, PyTree]:
    value, state = penalty.apply(state, *arguments, **axis_keyword(penalty.apply, axis_name))
    return vary(value, axis_name), state


def _rest(dtype: jax.typing.DTypeLike, axis_name: AxisName | None, state: PyTree) -> tuple[Scalar, PyTree]:
    return vary(jnp.zeros((), dtype), axis_name), state
