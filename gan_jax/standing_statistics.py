"""Standing statistics: batch norm's statistics measured anew for a generator that is to be sampled.

Running averages lag behind the weights, and those of an average of weights were never those of any network. Brock
et al., "Large scale GAN training for high fidelity natural image synthesis", 2019, take the statistics of many
passes of the very generator that is sampled instead.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .gan import GAN
from .networks import call_network, split_variables
from .step.draws import Purpose, sample_keys
from .types import Key, PyTree, Variables

_COLLECTION = "batch_stats"
_OWN = 0x5374_616E  # folded into the key: a sampler with the same key draws other latents


def standing_statistics(
    gan: GAN, variables: Variables, key: Key, batch: int, repeats: int, classes: int | None = None
) -> dict[str, Any]:
    """`variables` with the batch statistics averaged over `repeats` passes of the generator in training mode.

    Means and variances are each the mean of the passes'. `variables` is `state.ema`, or
    `state.generator.variables`; everything but its batch statistics stays as it is. Every call compiles; for many
    take `make_standing_statistics`.

    Args:
        key: sample i of pass r draws from `sample_keys(fold_in(key, constant), r, ..., i)`, so that latents are
            other than those of samples that are drawn, and measured, with the same key.
        batch: latents in a pass.
        repeats: passes.
        classes: labels are drawn uniformly from 0..classes - 1; None: the generator is given none.

    Raises:
        ValueError: a count is below 1, or the generator keeps no batch statistics.
    """
    return make_standing_statistics(gan, batch, repeats, classes)(variables, key)


def make_standing_statistics(
    gan: GAN, batch: int, repeats: int, classes: int | None = None
) -> Callable[[Variables, Key], dict[str, Any]]:
    """`measure(variables, key) -> variables`, compiled once for many calls; see `standing_statistics`."""
    for name, count in (("batch", batch), ("repeats", repeats), ("classes", 1 if classes is None else classes)):
        if count < 1:
            raise ValueError(f"standing statistics: {name} must be at least 1, got {count}")

    @jax.jit
    def moved(variables: Variables, start: PyTree, key: Key, repeat: jax.Array) -> PyTree:
        """The statistics that one pass makes of `start`."""

        def keys(purpose: Purpose) -> Key:
            return sample_keys(key, repeat, purpose, jnp.arange(batch))

        label = None
        if classes is not None:
            draw = functools.partial(jax.random.randint, shape=(), minval=0, maxval=classes)
            label = jax.vmap(draw)(keys(Purpose.LABEL))
        params, state = split_variables(variables, gan.generator)
        latents = jax.vmap(gan.latent)(keys(Purpose.LATENT))
        extra = {"label": label, "axis_name": None, "keys": keys(Purpose.GENERATOR)}
        return call_network(gan.generator, params, {**state, _COLLECTION: start}, latents, **extra)[1][_COLLECTION]

    def measure(variables: Variables, key: Key) -> dict[str, Any]:
        if not variables.get(_COLLECTION):
            raise ValueError(
                f"{type(gan.generator).__name__} keeps no batch statistics: sample it without standing statistics"
            )
        key = jax.random.fold_in(key, _OWN)
        # A pass makes `m old + (1 - m) own`. From zeros that is (1 - m) own; a pass from elsewhere tells m.
        statistics = variables[_COLLECTION]
        zeros = jax.tree.map(jnp.zeros_like, statistics)
        total = moved(variables, zeros, key, jnp.int32(0))
        far = jax.tree.map(lambda s: jnp.full_like(s, 1.0 + jnp.max(jnp.abs(s))), total)
        from_far = moved(variables, far, key, jnp.int32(0))
        kept = jax.tree.map(lambda new, s, f: jnp.mean((new - s) / f), from_far, total, far)
        for repeat in range(1, repeats):
            total = jax.tree.map(jnp.add, total, moved(variables, zeros, key, jnp.int32(repeat)))
        statistics = jax.tree.map(lambda t, m: t / (repeats * (1.0 - m)), total, kept)
        return {**variables, _COLLECTION: statistics}

    return measure
