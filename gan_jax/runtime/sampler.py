"""Samples of a run. The latents are always the same, so that sample grids of different steps can be compared."""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..data.source import Source
from ..errors import UserError
from ..gan import GAN, make_inputs
from ..networks import accepted, sample_network
from ..ops import compiler_options
from ..outputs import split_output
from ..step.draws import Purpose, sample_keys
from ..types import Batch, Latents, PyTree, Variables
from .background_compiler import BackgroundCompiler
from .precision import traced_with

BLOCK = 256  # the number of samples that one call of the generator makes


class Sampler:
    """Generates samples. Sample i is a function of the seed, i and the generator's variables.

    In a conditional GAN, sample i has label `labels[i mod len(labels)]`, by default i mod `classes`. A call
    can give other labels.

    If the GAN has `inputs` from rows of a batch, sample i is made from row i of `source`, and has its label.

    Args:
        gan: the GAN.
        seed: of the latents.
        classes: the number of labels; None for a GAN without labels.
        truncation: of the latents; 1.0 for none.
        labels: the labels to cycle through; None for all of them.
        precision: of float32 products, see `precision.matmul_precision`; None for the platform's default.
        source: the rows for a GAN with `inputs`.
        fast_compile: compile in a fraction of the time, to a program that is somewhat slower.

    Attributes:
        cycle: the labels that the samples have in turn, int32; None for a GAN without labels.

    Raises:
        UserError: the generator has no truncation, or the GAN does not have these labels.
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
        source: Source | None = None,
        fast_compile: bool = False,
    ):
        if truncation != 1.0 and not accepted(gan.generator, "apply", {"truncation": truncation}):
            raise UserError(
                f"truncation={truncation}, but {type(gan.generator).__name__} of "
                f"{type(gan.generator).__module__} has no truncation: leave it at 1.0"
            )
        if labels is not None and gan.inputs is not None:
            raise UserError("labels are given, but this run's samples have those of the data: leave them out")
        if labels is not None and classes is None:
            raise UserError("labels are given, but this run is not conditional: leave them out")
        if labels is not None and not (labels and all(0 <= label < (classes or 0) for label in labels)):
            raise UserError(f"labels must be from 0 to {(classes or 0) - 1}, got {', '.join(map(str, labels))}")
        self._gan, self._key = gan, jax.random.key(seed)
        self._source, self._conditional = source, classes is not None
        if gan.inputs is not None:
            classes = None  # labels are those of the rows
        chosen = labels if classes is None or labels is not None else range(classes)
        self.cycle = None if chosen is None else np.asarray(chosen, np.int32)
        self._options = {} if truncation == 1.0 else {"truncation": truncation}

        def block(variables: Variables, index: jax.Array, label: jax.Array | None, rows: Batch) -> jax.Array:
            label = rows.get("label", label)  # that of a GAN with inputs
            return self._generate(variables, self._latents(index, rows), index, label)

        options = compiler_options(once=True) if fast_compile else None
        self._precision = precision
        self._block = jax.jit(traced_with(precision, block), compiler_options=options)
        self._compiled: dict[int, Callable[..., jax.Array]] = {}

    def _latents(self, index: jax.Array, rows: Batch) -> Latents:
        return make_inputs(self._gan, rows, sample_keys(self._key, jnp.int32(0), Purpose.LATENT, index))

    def _rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the rows of the data that the samples `index` are made from; empty for a GAN with latents."""
        if self._gan.inputs is None:
            return {}
        if self._source is None:
            raise UserError("the generator's inputs are made from rows of the data, and there are no data here")
        rows = self._source.read(index % len(self._source))
        return {name: row for name, row in rows.items() if name != "label" or self._conditional}

    def _generate(
        self, variables: Variables, latents: Latents, index: jax.Array, label: jax.Array | None
    ) -> jax.Array:
        """Generates images from latents and labels; noise inside the generator is that of samples `index`."""
        keys = sample_keys(self._key, jnp.int32(0), Purpose.GENERATOR, index)
        extra = {"label": label, "axis_name": None, "keys": keys, **self._options}
        return split_output(sample_network(self._gan.generator, variables, latents, **extra))[0]

    def labels(self, index: np.ndarray) -> np.ndarray | None:
        """Returns the labels of samples `index`, int32 of the same shape; None for a GAN without labels."""
        return None if self.cycle is None else self.cycle[index % len(self.cycle)]

    @property
    def groups(self) -> int | None:
        """The number of labels that samples have in turn; None for a GAN without labels."""
        return None if self.cycle is None else len(self.cycle)

    def compile(self, variables: Variables, count: int, compiler: BackgroundCompiler) -> None:
        """Compiles for calls of `count` samples, with variables of these shapes on one device."""
        size, device = min(count, BLOCK), jax.tree.leaves(variables)[0].sharding
        index = jax.ShapeDtypeStruct((size,), jnp.int32, sharding=device)
        label = None if self.cycle is None else index
        if self._gan.inputs is not None and self._source is None:
            return
        rows = {
            name: jax.ShapeDtypeStruct((size, *row.shape[1:]), row.dtype, sharding=device)
            for name, row in self._rows(np.zeros(1, np.int64)).items()
        }
        self._compiled[size] = compiler("grid", self._block.lower(variables, index, label, rows))

    def __call__(
        self, variables: Variables, count: int, first: int = 0, labels: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns samples `first` to `first + count - 1`, float32 `[count, *S]`, in host memory.

        Args:
            variables: of the generator.
            count: the number of samples.
            first: the index of the first sample.
            labels: `[count]`, one for each sample; None for those that the class describes.
        """
        # One device is enough, and a program on several could get into the way of the step's collectives.
        variables = jax.tree.map(_on_one_device, variables)
        size = min(count, BLOCK)
        block = self._compiled.get(size, self._block)
        blocks = []
        for start in range(0, count, size):
            index = np.arange(first + start, first + start + size, dtype=np.int32)  # one shape, so one program
            label = self.labels(index)
            if label is not None and labels is not None:
                given = labels[start : start + size]
                label[: len(given)] = given
            made = block(variables, *jax.device_put((index, label, self._rows(index))))
            blocks.append(np.asarray(made)[: count - start])
        return np.concatenate(blocks)

    def between(self, variables: Variables, chain: Sequence[int], steps: int) -> np.ndarray:
        """Returns `steps` samples on the way from each sample of `chain` to the next, `[len - 1, steps, *S]`.

        Row i begins with sample `chain[i]` and ends one step before `chain[i + 1]`. Latents are interpolated on
        the sphere (`slerp`); the label and the noise are those of `chain[i]`.

        Raises:
            UserError: the GAN has no latents.
        """
        if self._gan.inputs is not None:
            raise UserError("there is no walk between samples: this generator gets data, and no latents")

        def between(variables: Variables, ends: jax.Array, t: jax.Array, label: jax.Array | None) -> jax.Array:
            first, second = (self._latents(ends[:, i], {}) for i in range(2))
            return self._generate(variables, jax.vmap(slerp)(first, second, t), ends[:, 0], label)

        walk = jax.jit(traced_with(self._precision, between))
        variables = jax.tree.map(_on_one_device, variables)
        t = np.arange(steps, dtype=np.float32) / steps
        rows = []
        for ends in itertools.pairwise(chain):
            index = np.broadcast_to(np.asarray(ends, np.int32), (steps, 2))
            arguments = jax.device_put((index, t, self.labels(index[:, 0])))
            rows.append(np.asarray(walk(variables, *arguments)))
        return np.stack(rows)


def slerp(first: Latents, second: Latents, t: jax.Array) -> Latents:
    """Interpolates between two latents on the sphere, from `first` (t = 0) to `second` (t = 1), leaf by leaf.

        sin((1 - t) w) / sin w  a  +  sin(t w) / sin w  b,   w the angle between a and b

    A straight line would leave the sphere on which normal latents of many dimensions lie: White, "Sampling
    generative networks", 2016. Latents that are parallel are interpolated on a straight line.
    """

    def mix(a: jax.Array, b: jax.Array) -> jax.Array:
        if not jnp.issubdtype(a.dtype, jnp.floating):
            return a
        lengths = jnp.linalg.norm(a.ravel()) * jnp.linalg.norm(b.ravel())
        cosine = jnp.clip(jnp.sum(a * b) / jnp.where(lengths > 0, lengths, 1.0), -1.0, 1.0)
        angle = jnp.arccos(cosine)
        sine = jnp.sin(angle)
        curved = sine > 1e-4
        divisor = jnp.where(curved, sine, 1.0)
        weight_a = jnp.where(curved, jnp.sin((1 - t) * angle) / divisor, 1 - t)
        weight_b = jnp.where(curved, jnp.sin(t * angle) / divisor, t)
        return weight_a * a + weight_b * b

    return jax.tree.map(mix, first, second)


def _on_one_device(x: PyTree) -> PyTree:
    if isinstance(x, np.ndarray):
        return jax.device_put(x)
    return x.addressable_data(0) if isinstance(x, jax.Array) and len(x.sharding.device_set) > 1 else x
