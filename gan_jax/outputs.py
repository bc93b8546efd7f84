"""What networks return: images and aux of a generator; logits and features of one or several discriminators."""

from typing import NamedTuple

import jax

from .types import PyTree


def split_output(output: PyTree) -> tuple[PyTree, PyTree]:
    """Returns `(images, aux)` of what a generator returned; aux is None if it returned images alone."""
    return output if type(output) is tuple and len(output) == 2 else (output, None)


class LogitsAndFeatures(NamedTuple):
    """What a discriminator with features returns.

    Attributes:
        logits: `[B]`, `[B, 1]` or a map `[B, h, w]`.
        features: a pytree of maps `[B, ...]`, such as a list of the activations of its layers.
    """

    logits: jax.Array
    features: PyTree = ()


def members_of(output: PyTree) -> list[LogitsAndFeatures | jax.Array]:
    """Returns what each member of an ensemble returned, in the order of `jax.tree.leaves`.

    Args:
        output: of a discriminator: an array of logits, `LogitsAndFeatures`, or a tuple, list or dict of members.
    """
    return jax.tree.leaves(output, is_leaf=lambda one: isinstance(one, LogitsAndFeatures))


def logits_of(output: PyTree) -> list[jax.Array]:
    """Returns the logits of each member (`members_of`): `[B, ...]` each."""
    return [one.logits if isinstance(one, LogitsAndFeatures) else one for one in members_of(output)]


def features_of(output: PyTree) -> list[jax.Array]:
    """Returns the features of all members (`members_of`) in one list: `[B, ...]` each.

    A member that returns logits alone has none.
    """
    return [
        x
        for one in members_of(output)
        if isinstance(one, LogitsAndFeatures)
        for x in jax.tree.leaves(one.features)
    ]
