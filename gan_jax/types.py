"""The words the rest of the package is written in: array aliases, `Samples` and the protocols of the parts.

`B` is the batch (global under `jax.jit`, this device's share under `jax.pmap`), `S` the shape of one sample.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jaxtyping
from jaxtyping import Array, Float, Int

PyTree: TypeAlias = Any
Scalar: TypeAlias = Float[Array, ""]
Images: TypeAlias = Float[Array, "B *S"]
Labels: TypeAlias = Int[Array, " B"]
Key: TypeAlias = jaxtyping.Key[Array, "..."]  # one key, or [B] of them
Latents: TypeAlias = PyTree  # what `GAN.latent` gives for one key, with a leading [B]
Logits: TypeAlias = PyTree  # [B] or [B, 1] as a rule; a pytree where the loss knows it
Metrics: TypeAlias = dict[str, jax.Array]
Variables: TypeAlias = Mapping[str, Any]  # {"params": ..., and the collections of the model state}
Batch: TypeAlias = Mapping[str, Any]  # {"image": [B, *S] uint8 or float32, "label": [B]}
Schedule: TypeAlias = Callable[[jax.Array], jax.Array]  # of images seen: step times global batch


class Samples(NamedTuple):
    """A batch as the discriminator sees it.

    Attributes:
        image: `[B, *S]` in [-1, 1], not yet augmented.
        label: `[B]` integers, or None where the game has no labels.
        key: `[B]` keys; the same key gives the same augmentation.
    """

    image: Images
    label: Labels | None
    key: Key


Critic: TypeAlias = Callable[[Samples], Logits]  # D(augment(image, key), label), variables closed over
Generate: TypeAlias = Callable[..., Any]  # (latents, **keywords) -> images, variables closed over


@runtime_checkable
class Network(Protocol):
    """Anything with `init` and `apply`: a Linen module as it is, or your own functions.

    A generator is called with latents, a discriminator with images. Beside them these keywords are offered,
    and only those that the network's signature names are passed:

    - `label`: `[B]` integers, or None;
    - `train`: True in a training step, False when sampling;
    - `axis_name`: the device axis under `pmap`, for statistics over the global batch, else None;
    - `keys`: `[B]` keys, one a sample, for noise inside the network;
    - `mutable`: the names of the collections that may change; the network then returns `(output, changed)`;
    - `truncation`: a float, when sampling;
    - `method`: a Linen module's other method, "mapping" or "synthesis", where a penalty asks for it.

    `init` returns a mapping with `"params"` and, where the network keeps state, other collections. A network
    with a method `refresh(variables) -> variables` has it called once before its own turn (the
    power iteration of spectral normalisation). Linen's own Dropout is not served: it wants one key for a batch,
    and a draw here belongs to a sample; make it from `keys`.
    """

    def init(self, key: Any, *args: Any, **keywords: Any) -> Any: ...

    def apply(self, variables: Any, *args: Any, **keywords: Any) -> Any: ...
