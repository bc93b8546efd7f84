"""Samples of a run: the same latents each time, so that pictures of different steps can be compared."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import UserError
from ..gan import GAN
from ..networks import accepted, sample_network
from ..ops import compiler_options
from ..step.draws import Purpose, sample_keys
from ..types import Variables
from .background_compiler import Ahead
from .precision import traced_with

BLOCK = 256  # samples that are drawn at a time


class Sampler:
    """Draws samples of a game: sample i is a function of the seed, i and the variables.

    Labels, in a conditional game, go round: sample i has label i mod classes, or `labels[i mod len(labels)]`; or
    they are given.

    Args:
        gan: the game.
        seed: of the latents.
        classes: the number of labels; None where the game has none.
        truncation: 1.0 for none.
        labels: those that are wanted; None for all.
        precision: of float32 products, see `gan_jax.precision.asked`; None for the platform's own.
        hurried: compile in a fraction of the time, for pictures that take somewhat longer each.

    Raises:
        UserError: truncation is asked of a generator that defines none, or labels that the game doesn't have.
    """

    def __init__(
        self,
        gan: GAN,
        seed: int,
        classes: int | None = None,
        truncation: float = 1.0,
        *,
        labels: Sequence[int] | None = None,
        precision: str | None = None,
        hurried: bool = False,
    ):
        if truncation != 1.0 and not accepted(gan.generator, "apply", {"truncation": truncation}):
            raise UserError(
                f"truncation={truncation}, but {type(gan.generator).__name__} of "
                f"{type(gan.generator).__module__} defines none: leave it at 1.0"
            )
        if labels is not None and classes is None:
            raise UserError("labels are asked for, but this run is not conditional: leave them out")
        if labels is not None and not (labels and all(0 <= label < (classes or 0) for label in labels)):
            raise UserError(f"labels must be from 0 to {(classes or 0) - 1}, got {', '.join(map(str, labels))}")
        self._gan, self._key, self._classes = gan, jax.random.key(seed), classes
        self._labels = None if labels is None else np.asarray(labels, np.int32)
        self._chosen = {} if truncation == 1.0 else {"truncation": truncation}

        def block(variables: Variables, index: jax.Array, label: jax.Array | None) -> jax.Array:
            return self._generate(variables, self._latents(index), index, label)

        options = compiler_options(once=True) if hurried else None
        self._precision = precision
        self._block = jax.jit(traced_with(precision, block), compiler_options=options)
        self._compiled: dict[int, Callable[..., Any]] = {}

    def _latents(self, index: jax.Array) -> Any:
        return jax.vmap(self._gan.latent)(sample_keys(self._key, jnp.int32(0), Purpose.LATENT, index))

    def _generate(
        self, variables: Variables, latents: Any, index: jax.Array, label: jax.Array | None
    ) -> jax.Array:
        """Of these latents and labels, with the noise of samples `index`."""
        keys = sample_keys(self._key, jnp.int32(0), Purpose.GENERATOR, index)
        extra = {"label": label, "axis_name": None, "keys": keys, **self._chosen}
        return sample_network(self._gan.generator, variables, latents, **extra)

    def _label(self, index: np.ndarray) -> np.ndarray | None:
        """The labels of samples `index` where none are given."""
        if self._classes is None:
            return None
        return (index % self._classes if self._labels is None else self._labels[index % len(self._labels)]).astype(
            np.int32
        )

    def columns(self, count: int) -> int | None:
        """Columns for a picture of `count` samples: one a class where there are labels and it fits, else None."""
        classes = self._classes if self._labels is None else len(self._labels)
        return classes if classes is not None and classes <= min(count, 32) else None

    def compile(self, variables: Variables, count: int, ahead: Ahead) -> None:
        """Let `ahead` compile for calls with so many samples, and with variables of these shapes on one device."""
        size, device = min(count, BLOCK), jax.tree.leaves(variables)[0].sharding
        index = jax.ShapeDtypeStruct((size,), jnp.int32, sharding=device)
        label = None if self._classes is None else index
        self._compiled[size] = ahead("picture", self._block.lower(variables, index, label))

    def __call__(
        self, variables: Variables, count: int, first: int = 0, labels: np.ndarray | None = None
    ) -> np.ndarray:
        """Samples `first` to `first + count - 1`, float32 `[count, *S]`, on the host; with `labels` `[count]`."""
        # One device is enough, and on several a program of its own could meet the step's collectives.
        variables = jax.tree.map(_one_device, variables)
        size = min(count, BLOCK)
        block = self._compiled.get(size, self._block)
        blocks = []
        for start in range(0, count, size):
            index = np.arange(first + start, first + start + size, dtype=np.int32)  # one shape, one program
            label = self._label(index)
            if label is not None and labels is not None:
                given = labels[start : start + size]
                label[: len(given)] = given
            blocks.append(np.asarray(block(variables, *jax.device_put((index, label))))[: count - start])
        return np.concatenate(blocks)

    def between(self, variables: Variables, chain: Sequence[int], steps: int) -> np.ndarray:
        """`steps` samples from each of the samples `chain` towards the next one, float32 `[len - 1, steps, *S]`.

        The first of a row is sample `chain[i]` itself, the last one step before `chain[i + 1]`; latents are
        interpolated along the sphere (`slerp`), label and noise stay those of `chain[i]`.
        """

        def between(variables: Variables, ends: jax.Array, share: jax.Array, label: jax.Array | None) -> jax.Array:
            first, second = (self._latents(ends[:, i]) for i in range(2))
            return self._generate(variables, jax.vmap(slerp)(first, second, share), ends[:, 0], label)

        walk = jax.jit(traced_with(self._precision, between))
        variables = jax.tree.map(_one_device, variables)
        share = np.arange(steps, dtype=np.float32) / steps
        rows = []
        for ends in itertools.pairwise(chain):
            index = np.broadcast_to(np.asarray(ends, np.int32), (steps, 2))
            arguments = jax.device_put((index, share, self._label(index[:, 0])))
            rows.append(np.asarray(walk(variables, *arguments)))
        return np.stack(rows)


def slerp(first: Any, second: Any, share: jax.Array) -> Any:
    """Along the great circle from latent `first` (share 0) to `second` (share 1), leaf by leaf.

        sin((1 - t) w) / sin w  a  +  sin(t w) / sin w  b,   w the angle between a and b

    A straight line would leave the sphere that high-dimensional normal latents lie on. White, "Sampling generative
    networks", 2016. Parallel latents are mixed in a straight line.
    """

    def mix(a: jax.Array, b: jax.Array) -> jax.Array:
        if not jnp.issubdtype(a.dtype, jnp.floating):
            return a
        lengths = jnp.linalg.norm(a.ravel()) * jnp.linalg.norm(b.ravel())
        cosine = jnp.clip(jnp.sum(a * b) / jnp.where(lengths > 0, lengths, 1.0), -1.0, 1.0)
        angle = jnp.arccos(cosine)
        sine = jnp.sin(angle)
        curved = sine > 1e-4
        safe = jnp.where(curved, sine, 1.0)
        of_a = jnp.where(curved, jnp.sin((1 - share) * angle) / safe, 1 - share)
        of_b = jnp.where(curved, jnp.sin(share * angle) / safe, share)
        return of_a * a + of_b * b

    return jax.tree.map(mix, first, second)


def _one_device(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return jax.device_put(x)
    return x.addressable_data(0) if isinstance(x, jax.Array) and len(x.sharding.device_set) > 1 else x
