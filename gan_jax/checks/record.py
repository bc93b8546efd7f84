"""Checks of the fields of a GAN, when it is built."""

import inspect
import math
from typing import TYPE_CHECKING

import numpy as np

from ..augment import Augment
from ..latents import missing
from ..losses import Loss
from ..networks.composites import After, Ensemble
from ..penalties import OutputPenalty, Penalty, Term
from ..types import Network, PyTree

if TYPE_CHECKING:
    from ..gan import GAN

UPDATES = ("alternating", "generator_first", "simultaneous", "one_stage")


def check_gan(gan: "GAN") -> None:
    """Checks the fields of a GAN.

    Raises:
        ValueError: a field holds another kind of thing, or two fields contradict each other.
    """
    for name in ("disc_steps", "microbatches"):
        if getattr(gan, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(gan, name)}")
    if gan.update not in UPDATES:
        raise ValueError(f"update must be one of {', '.join(UPDATES)}, got {gan.update!r}")
    if gan.update in ("simultaneous", "one_stage") and not (gan.share_latents and gan.microbatches == 1):
        raise ValueError(
            f"update={gan.update} is one pass for both players: set share_latents=True and microbatches=1"
        )
    for name in ("generator", "discriminator"):
        network = getattr(gan, name)
        if inspect.isclass(network) or not (hasattr(network, "init") and hasattr(network, "apply")):
            raise ValueError(
                f"{name} must be an object with init and apply, such as a Linen module (other libraries need an "
                f"adapter of gan_jax.networks), got {_words(network)}"
            )
    _check_generator(gan.generator)
    _check_fields(gan)
    _check_inputs(gan)
    _check_weights(gan)
    _check_terms((*gan.generator_terms, *gan.discriminator_terms))


def _check_generator(network: Network) -> None:
    while isinstance(network, After):
        network = network.network
    if isinstance(network, Ensemble) and not network.by_name and len(network.parts) == 2:
        raise ValueError(
            "the generator is an ensemble of two without names, so it returns a tuple of two, which is read as "
            "(images, aux): give its members names, as networks.ensemble({'a': g1, 'b': g2}), or write a network "
            "that returns (images, aux)"
        )


def _check_fields(gan: "GAN") -> None:
    for name, kind, example in (("loss", Loss, "gan_jax.losses.hinge()"), ("augment", Augment, "augment.ada()")):
        if not isinstance(getattr(gan, name), kind):
            raise ValueError(f"{name} must be like {example}, got {_words(getattr(gan, name))}")
    for name in ("generator_tx", "discriminator_tx"):
        tx = getattr(gan, name)
        if not (hasattr(tx, "init") and hasattr(tx, "update")):
            raise ValueError(f"{name} must be an Optax optimizer such as optax.adam(2e-4), got {_words(tx)}")
    for name in ("generator_terms", "discriminator_terms"):
        if not isinstance(getattr(gan, name), tuple | list):
            raise ValueError(f"{name} must be a tuple of terms, got {_words(getattr(gan, name))}")
    if not callable(gan.ema):
        raise ValueError(
            "ema must be a schedule of the half-life in images, such as schedules.half_life(10_000), got "
            f"{gan.ema!r}: a decay d per step at batch B is a half-life of B * log(0.5) / log(d) images"
        )


def _check_inputs(gan: "GAN") -> None:
    if gan.latent is not missing and gan.inputs is not None:
        raise ValueError(
            "a GAN has latent (noise alone) or inputs (from a row of the batch and a key), not both: where "
            "dataclasses.replace sets inputs, set latent=gan_jax.latents.missing too"
        )
    if gan.inputs is not None and not callable(gan.inputs):
        raise ValueError(
            "inputs must be a function of a row of the batch and a key, such as lambda row, key: row['edges'], "
            f"got {_words(gan.inputs)}"
        )
    if gan.inputs is None and (gan.latent is missing or not callable(gan.latent)):
        given = "nothing" if gan.latent is missing else repr(gan.latent)
        raise ValueError(f"latent must be a function of a key, such as latents.normal(100), got {given}")


def _check_weights(gan: "GAN") -> None:
    for name in ("generator_weight", "discriminator_weight"):
        if not _is_weight(getattr(gan, name)):
            raise ValueError(f"{name} must be a finite number or a schedule, got {getattr(gan, name)!r}")
    if isinstance(gan.discriminator_weight, int | float | np.number) and gan.discriminator_weight <= 0:
        raise ValueError(
            f"discriminator_weight is {gan.discriminator_weight}, so the discriminator would never learn: it must "
            "be above 0, or a schedule that gets there"
        )
    if gan.update == "one_stage" and callable(gan.discriminator_weight):
        raise ValueError(
            "update=one_stage takes the generator's gradient from the discriminator's, which is 0 before a late "
            "start: use simultaneous"
        )
    if gan.adaptive_weight is None:
        return
    if not callable(getattr(gan.adaptive_weight, "last_layer", None)):
        raise ValueError(
            "adaptive_weight must be like AdaptiveWeight(lambda params: params['out']['kernel']), got "
            f"{_words(gan.adaptive_weight)}"
        )
    if not gan.generator_terms:
        raise ValueError(
            "adaptive_weight compares the adversarial loss with the generator's terms, and there are none: add a "
            "term such as penalties.reconstruction(), or leave it out"
        )
    if gan.update == "one_stage":
        raise ValueError("update=one_stage has no gradient of its own for adaptive_weight: use simultaneous")
    if all(term.every > 1 for term in gan.generator_terms):
        raise ValueError(
            "adaptive_weight would be 0 in the steps without a term, and all of the generator's have every > 1: "
            "set every=1 for one of them"
        )


def _is_weight(weight: PyTree) -> bool:
    number = isinstance(weight, int | float | np.number) and math.isfinite(weight)
    return number or callable(weight) or getattr(weight, "shape", None) == ()


def _check_terms(terms: tuple[PyTree, ...]) -> None:
    for term in terms:
        if not isinstance(term, Term) or not isinstance(term.penalty, Penalty | OutputPenalty):
            raise ValueError(
                "generator_terms and discriminator_terms hold terms such as "
                f"gan_jax.Term(5.0, gan_jax.penalties.r1()), got {_words(term)}"
            )
        if not _is_weight(term.weight):
            raise ValueError(
                f"penalty {term.penalty.name}: the weight must be a finite number or a schedule, got "
                f"{term.weight!r}"
            )
        if not isinstance(term.every, int | np.integer):
            raise ValueError(f"penalty {term.penalty.name}: every must be an integer, got {term.every!r}")
        if term.every < 1:
            raise ValueError(f"penalty {term.penalty.name}: every must be at least 1, got {term.every}")
    names = [term.penalty.name for term in terms]
    if reserved := {"generator", "discriminator"} & set(names):
        raise ValueError(f"no penalty may have the name {min(reserved)!r}: metrics of a player have it")
    if len(set(names)) < len(names):  # their metrics would have the same name
        raise ValueError(f"penalties must have different names, got {names}")


def _words(value: object) -> str:
    """Describes a value that is no valid field; a function or a class may have been meant to be called."""
    if isinstance(value, Term):
        inner = value.penalty
        return (
            f"a term of {inner.name}"
            if isinstance(inner, Penalty | OutputPenalty)
            else f"a term whose penalty is {_words(inner)}"
        )
    if isinstance(value, Penalty | OutputPenalty):
        return f"the penalty {value.name} without its weight"
    if inspect.isclass(value) or inspect.isfunction(value):
        name = getattr(value, "__name__", "it")
        return f"{name}, which is not called: write {name}(...)"
    plain = isinstance(value, int | float | str | tuple | list | type(None))
    return repr(value)[:60] if plain else f"an object of the type {type(value).__name__}"
