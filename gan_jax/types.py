"""Array aliases, `Samples`, and the protocols of the functions that users write.

`B` is the number of samples in a batch: the global batch on one device, one device's share over several.
`S` is the shape of one sample.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jaxtyping
from jaxtyping import Array, Float

PyTree: TypeAlias = Any
AxisName: TypeAlias = str | tuple[str, ...]  # of the device axis; over a mesh of several axes, of all of them
Device: TypeAlias = Any  # type checkers do not accept `jax.Device` as a type
Number: TypeAlias = float | jax.Array  # of a config; an array, where members of a sweep differ in it
Scalar: TypeAlias = Float[Array, ""]
Images: TypeAlias = PyTree  # leaves [B, *S]: images, waves, clips; one array, or a pytree of them
Labels: TypeAlias = PyTree  # leaves [B, ...]: integers [B] for classes, attributes [B, A], a source image
Key: TypeAlias = jaxtyping.Key[Array, "..."]  # one key, or [B] of them
Latents: TypeAlias = PyTree  # what the generator is called with, leaves [B, ...]: noise, an image, a pair
Example: TypeAlias = Mapping[str, PyTree]  # one row of a batch, without the leading [B]; its image in [-1, 1]
Logits: TypeAlias = PyTree  # [B], [B, 1], or a map [B, h, w]; as the discriminator's output, any pytree
Metrics: TypeAlias = dict[str, jax.Array]
Variables: TypeAlias = Mapping[str, PyTree]  # {"params": ..., and the collections of the model state}
Batch: TypeAlias = Mapping[str, PyTree]  # {"image": [B, *S] uint8 or floating, "label": Labels, and more}


class Samples(NamedTuple):
    """A batch as the discriminator sees it.

    Attributes:
        image: `[B, *S]` in [-1, 1], not yet augmented; or a pytree of such arrays.
        label: a pytree of `[B, ...]`: integers, attributes, a source image. None if the GAN has no labels.
        key: `[B]` keys. The same key gives the same augmentation.
    """

    image: Images
    label: Labels | None
    key: Key


@runtime_checkable
class Inputs(Protocol):
    """Makes what the generator is called with, for one sample."""

    def __call__(self, example: Example, key: Key, /) -> PyTree:
        """Returns the inputs of one sample, without a batch axis; it is called under `jax.vmap`.

        Args:
            example: one row of the batch, with all its fields. Floating images are as they are in the batch, and
                images of uint8 are in [-1, 1]. Other fields are as they are.
            key: of this sample.
        """
        ...


@runtime_checkable
class Schedule(Protocol):
    """A quantity that changes during a run."""

    def __call__(self, images: jax.Array, /) -> jax.Array:
        """Returns the value after `images` images, a scalar. `images` is steps times the global batch."""
        ...


@runtime_checkable
class Critic(Protocol):
    """The discriminator of one update, with its variables closed over: what a penalty differentiates.

    An attribute `joint` says that the loss reads real and generated samples as one batch, so that the critic keeps
    samples apart. A critic without it may mix samples.
    """

    def __call__(self, samples: Samples, /) -> Logits:
        """Returns the logit of `D(augment(image, key), label)` (see `Loss.logit`), in float32 at least."""
        ...


@runtime_checkable
class Generate(Protocol):
    """The generator of one update, with its variables closed over: what a generator's penalty differentiates."""

    def __call__(self, latents: Latents, /, **keywords: PyTree) -> PyTree:
        """Returns what the network, or its `method`, returns: images `[B, *S]`, or `(images, aux)`.

        Keywords are those of `Network`.
        """
        ...


@runtime_checkable
class Network(Protocol):
    """A generator or discriminator: anything with `init` and `apply`, such as a Linen module.

    `gan_jax.networks` has adapters: `from_nnx`, `from_equinox`, `from_haiku` and `from_functions`. A generator is
    called with latents (or with what `GAN.inputs` makes), a discriminator with images. A generator returns images,
    or a tuple `(images, aux)`: aux is a pytree of `[B, ...]` that penalties read. The library offers these
    keywords, and passes those that the network's signature names:

    - `label`: `[B, ...]`, such as integers `[B]`, or None;
    - `train`: True in a training step, False in a sampler. A network that names `training` or `is_training` gets
      it under that name; one that names `deterministic` or `use_running_average` gets `not train`;
    - `axis_name`: the device axis under `pmap`, for statistics over the global batch, else None;
    - `keys`: `[B]` keys, one for each sample, for noise inside the network;
    - `mutable`: the names of the collections that may change. The network then returns `(output, changed)`;
    - `frozen`: the third argument of the step, variables of networks that are not trained;
    - `truncation`: a float, in a sampler;
    - `method`: "mapping" or "synthesis", another method of a Linen module, where a penalty asks for it.

    A network with `**anything` gets all of these, but not the other names of `train`. A Linen module's signature
    is that of its `__call__`, an `nn.Sequential`'s that of its first layer.

    A Linen module has the random streams "dropout" and "noise" in training, and in a sampler that is given a key.
    Each draw from them belongs to one sample (`networks.per_sample_key`), so `nn.Dropout` works as it is. What a
    network draws by itself it draws from `keys`, with a number of its own for each layer
    (`models.layers.Dropout`).

    An attribute `statistics` names the collections of batch statistics, a tuple; without it `("batch_stats",)`.
    They are float32 at least, and the moving average of the generator has their average.

    A network with a method `refresh(variables) -> variables` has it called once before its own update (spectral
    normalisation makes its power iteration there).
    """

    def init(self, key: Key, /, *args: PyTree, **keywords: PyTree) -> PyTree:
        """Returns a mapping with `"params"` and, if the network keeps state, other collections."""
        ...

    def apply(self, variables: PyTree, /, *args: PyTree, **keywords: PyTree) -> PyTree:
        """Returns images (a generator) or logits (a discriminator)."""
        ...
