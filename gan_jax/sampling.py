"""How a GAN is sampled."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.core import Tracer

from .gan import GAN
from .networks import accepted, sample_network, typed_as_initialised
from .outputs import split_output
from .types import Images, Key, Labels, Latents, PyTree, Variables


@runtime_checkable
class SampleFunction(Protocol):
    """What `make_sampler` builds."""

    def __call__(
        self,
        variables: Variables,
        latents: Latents,
        labels: Labels | None = None,
        key: Key | None = None,
        *,
        truncation: float | jax.Array = 1.0,
        frozen: PyTree = None,
    ) -> Images:
        """Returns images `[B, *S]`; aux is left out.

        Args:
            variables: `state.ema`, or `state.generator.variables`.
            latents: `[B, ...]`, or what `GAN.inputs` makes.
            labels: leaves `[B, ...]`, if the GAN has labels.
            key: for generators with noise of their own; sample i draws from `fold_in(key, i)`. Without it there is
                no noise, which is another distribution than the trained one: give a key where samples are
                measured.
            truncation: a Python number, static under `jit`, unless a generator of your own takes a traced one.
            frozen: as in the step.

        Raises:
            ValueError: there is truncation, but the generator has none.
        """
        ...


def make_sampler(gan: GAN) -> SampleFunction:
    """Builds the function that draws samples from a generator's variables."""
    types: dict[str, PyTree] = {}  # of the generator's variables, for each structure and shape of the inputs

    def typed(
        variables: Variables, latents: Latents, labels: Labels | None, size: int, frozen: PyTree
    ) -> Variables:
        """Casts the moving average of 16-bit parameters, which is float32, to the types of the parameters."""
        given = str(jax.tree.map(jnp.shape, (dict(variables), latents, labels)))
        if given not in types:
            keys = jax.random.split(jax.random.key(0), size)
            extra = {"label": labels, "train": False, "axis_name": None, "keys": keys, "frozen": frozen}
            cast = lambda v: typed_as_initialised(gan.generator, v, latents, **extra)  # noqa: E731
            types[given] = jax.tree.map(lambda leaf: leaf.dtype, jax.eval_shape(cast, dict(variables)))
        return jax.tree.map(lambda x, t: x if x.dtype == t else x.astype(t), dict(variables), types[given])

    def sample(
        variables: Variables,
        latents: Latents,
        labels: Labels | None = None,
        key: Key | None = None,
        *,
        truncation: float | jax.Array = 1.0,
        frozen: PyTree = None,
    ) -> Images:
        size = jax.tree.leaves(latents)[0].shape[0]
        keys = None if key is None else jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(size))
        extra = {"label": labels, "axis_name": None, "keys": keys, "frozen": frozen}
        if isinstance(truncation, Tracer) or truncation != 1.0:
            if not accepted(gan.generator, "apply", {"truncation": truncation}):
                raise ValueError(
                    f"truncation={truncation}, but {type(gan.generator).__name__} has none: leave it at 1.0 for "
                    "this generator"
                )
            extra["truncation"] = truncation
        variables = typed(variables, latents, labels, size, frozen)
        return split_output(sample_network(gan.generator, variables, latents, **extra))[0]

    return sample
