"""Standing statistics: measures the statistics of batch norm again for a generator that will be sampled.

Running averages lag behind the weights, and the EMA of running averages does not fit the EMA of the weights.
Brock et al., "Large scale GAN training for high fidelity natural image synthesis", 2019, therefore average the
statistics of many passes of the generator that is sampled.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from .gan import GAN
from .networks import call_network, split_variables, statistics_names, typed_as_initialised
from .step.draws import Purpose, sample_keys
from .types import Key, PyTree, Variables

_PURPOSE = 0x5374_616E  # folded into the key, so that a sampler with the same key draws other latents


def standing_statistics(
    gan: GAN, variables: Variables, key: Key, batch: int, repeats: int, classes: int | None = None
) -> dict[str, PyTree]:
    """Returns `variables` with batch statistics averaged over `repeats` passes of the generator in training mode.

    Means and variances are averaged over the passes separately. `variables` is `state.ema` or
    `state.generator.variables`; only its batch statistics change: the collections that the generator's
    `statistics` names. Every call compiles; for many calls use `make_standing_statistics`.

    Args:
        key: sample i of pass r draws from `sample_keys(fold_in(key, constant), r, ..., i)`. So the latents differ
            from those of samples that are drawn (and then measured) with the same key.
        batch: the number of latents in a pass.
        repeats: the number of passes.
        classes: draws labels uniformly from 0..classes - 1; None: the generator gets those of `gan.fake_labels`,
            or no labels.

    Raises:
        ValueError: a count is below 1, the GAN has `inputs`, or the generator keeps no batch statistics.
    """
    return make_standing_statistics(gan, batch, repeats, classes)(variables, key)


def make_standing_statistics(
    gan: GAN, batch: int, repeats: int, classes: int | None = None
) -> Callable[[Variables, Key], dict[str, PyTree]]:
    """Builds `measure(variables, key) -> variables`, which compiles only once; see `standing_statistics`."""
    for name, count in (("batch", batch), ("repeats", repeats), ("classes", 1 if classes is None else classes)):
        if count < 1:
            raise ValueError(f"standing statistics: {name} must be at least 1, got {count}")

    if gan.inputs is not None:
        raise ValueError(
            "standing statistics draws latents, but this GAN has `inputs` from rows of a batch: sample it without"
        )

    @jax.jit
    def run_pass(variables: Variables, start: PyTree, key: Key, repeat: jax.Array) -> PyTree:
        """Returns the running averages after one pass that starts from the running averages `start`."""

        def keys(purpose: Purpose) -> Key:
            return sample_keys(key, repeat, purpose, jnp.arange(batch))

        label = None
        if classes is not None:
            draw = functools.partial(jax.random.randint, shape=(), minval=0, maxval=classes)
            label = jax.vmap(draw)(keys(Purpose.LABEL))
        elif gan.fake_labels is not None:
            label = jax.vmap(gan.fake_labels)(keys(Purpose.LABEL))
        latents = jax.vmap(gan.latent)(keys(Purpose.LATENT))
        extra = {"label": label, "axis_name": None, "keys": keys(Purpose.GENERATOR)}
        variables = typed_as_initialised(gan.generator, variables, latents, train=False, **extra)
        params, state = split_variables(variables, gan.generator)
        after = call_network(gan.generator, params, {**state, **start}, latents, **extra)[1]
        return {name: after[name] for name in start}

    def measure(variables: Variables, key: Key) -> dict[str, PyTree]:
        statistics = {name: variables[name] for name in statistics_names(gan.generator) if variables.get(name)}
        if not statistics:
            raise ValueError(
                f"{type(gan.generator).__name__} keeps no batch statistics: sample it without standing statistics"
            )
        key = jax.random.fold_in(key, _PURPOSE)
        # A pass turns `start` into `m start + (1 - m) batch`, with an unknown momentum m. From zeros it gives
        # (1 - m) batch; the same pass from other values then gives m.
        zeros = _map_floats(jnp.zeros_like, statistics)
        total = run_pass(variables, zeros, key, jnp.int32(0))
        other = _map_floats(lambda s: jnp.full_like(s, 1.0 + jnp.max(jnp.abs(s))), total)
        from_other = run_pass(variables, other, key, jnp.int32(0))
        momentum = _map_floats(lambda new, s, o: jnp.mean((new - s) / o), from_other, total, other)
        for repeat in range(1, repeats):
            total = _map_floats(jnp.add, total, run_pass(variables, zeros, key, jnp.int32(repeat)))
        measured = _map_floats(lambda _, t, m: t / (repeats * (1.0 - m)), statistics, total, momentum)
        return {**variables, **measured}

    return measure


def _map_floats(function: Callable[..., jax.Array], first: PyTree, *others: PyTree) -> PyTree:
    """Maps `function` over the leaves of floats. Other leaves, such as counters, are those of `first`."""

    def one(leaf: jax.Array, *more: jax.Array) -> jax.Array:
        return function(leaf, *more) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(one, first, *others)
