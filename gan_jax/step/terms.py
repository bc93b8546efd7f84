"""The weighted sum of a player's penalties."""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from ..checks import takes
from ..gan import GANTerm, Weight
from ..penalties import OutputPenalty, Penalty
from ..types import AxisName, Metrics, PyTree, Scalar
from .devices import vary
from .penalty_means import check_penalty

# Metrics of the adversarial losses, and the player of each: a step does not compute them while its weight is 0.
_OF_DISCRIMINATOR = ("loss/discriminator", "logits/real", "logits/fake", "grad_norm/discriminator")
PLAYER: dict[str, str] = {"loss/generator": "generator", **dict.fromkeys(_OF_DISCRIMINATOR, "discriminator")}


def weighted_sum(
    terms: Sequence[GANTerm],
    states: tuple[PyTree, ...],
    arguments: Mapping[type, tuple[PyTree, ...]],
    step: jax.Array,
    images: jax.Array,
    axis_name: AxisName | None = None,
    **offered: PyTree,
) -> tuple[Scalar, tuple[PyTree, ...], Metrics]:
    """Returns the weighted sum of penalties, the new states of all terms, and the metrics.

    `penalty/<name>` is the value without its weight; it is 0 on a step on which a lazy penalty is not computed.
    `applied/<name>`, which only lazy penalties have, is 1 on a step on which it is computed and 0 on the others,
    so that a mean can leave those out.

    Args:
        terms: of one player.
        states: one for each term.
        arguments: what `apply` gets after its state, for `Penalty`, `OutputPenalty` or both. The penalties of a
            class that is not there are left out, and their states stay as they are.
        step: number of this step.
        images: images seen, for schedules.
        axis_name: the device axis under `pmap`, else None.
        offered: keywords for the functions that name them.
    """
    total, new_states, metrics = jnp.zeros(()), [], {}
    for term, state in zip(terms, states, strict=True):
        penalty, every = term.penalty, term.every
        if type(penalty) not in arguments:
            new_states.append(state)
            continue
        keywords = {"axis_name": axis_name, **offered}
        keywords = {name: value for name, value in keywords.items() if takes(penalty.apply, name)}
        if axis_name is not None:
            check_penalty(penalty, state, arguments[type(penalty)], keywords)
        apply = functools.partial(_apply, penalty, arguments[type(penalty)], axis_name, keywords)
        if every == 1:
            value, state = apply(state)
        else:
            due = step % every == 0
            dtype = jax.eval_shape(apply, state)[0].dtype
            rest = functools.partial(_rest, dtype, axis_name)
            value, state = lax.cond(due, apply, rest, state)
            metrics[f"applied/{penalty.name}"] = due.astype(jnp.float32)
        metrics[f"penalty/{penalty.name}"] = value
        total = total + weight_at(term.weight, images) * every * value
        new_states.append(state)
    return total, tuple(new_states), metrics


def weight_at(weight: Weight, images: jax.Array) -> jax.Array:
    """Returns a weight after so many images."""
    return jnp.asarray(weight(images) if callable(weight) else weight)


def only_if(begun: jax.Array, metrics: Metrics, player: str, terms: Sequence[GANTerm]) -> Metrics:
    """Returns metrics, in which those of a player's adversarial loss and of these terms are 0 unless `begun`.

    `applied/<name>` says so, for the player and for each penalty.
    """
    penalties = [term.penalty.name for term in terms]
    names = [name for name, of in PLAYER.items() if of == player] + [f"penalty/{name}" for name in penalties]
    flags = {f"applied/{name}": metrics.get(f"applied/{name}", jnp.ones(())) for name in (player, *penalties)}
    silenced = {**flags, **{name: metrics[name] for name in names if name in metrics}}
    return {**metrics, **{name: jnp.where(begun, x, jnp.zeros_like(x)) for name, x in silenced.items()}}


def _apply(
    penalty: Penalty | OutputPenalty,
    arguments: tuple,
    axis_name: AxisName | None,
    keywords: dict[str, PyTree],
    state: PyTree,
) -> tuple[Scalar, PyTree]:
    value, state = penalty.apply(state, *arguments, **keywords)
    return vary(value, axis_name), state


def _rest(dtype: jax.typing.DTypeLike, axis_name: AxisName | None, state: PyTree) -> tuple[Scalar, PyTree]:
    return vary(jnp.zeros((), dtype), axis_name), state
