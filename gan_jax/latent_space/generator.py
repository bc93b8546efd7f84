"""A run's generator as pure functions of latents that are rows of numbers."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.flatten_util import ravel_pytree

from ..errors import UserError
from ..gan import GAN
from ..networks import accepted, sample_network
from ..outputs import split_output
from ..step.draws import Purpose, sample_keys
from ..types import Images, Key, Labels, PyTree, Variables

Space = Literal["z", "w", "w+"]

_NOISE = "noise_buffers"  # the variables of a generator with noise="const"


class LatentGenerator:
    """A generator as pure functions of flat latents.

    A latent of the space "z" is what the GAN draws, flattened to N numbers. A generator with the methods "mapping"
    and "synthesis", as StyleGAN2 has them, has two spaces more: "w" has the W numbers that z is mapped to, and
    "w+" has such a w for each of L layers.

    Attributes:
        spaces: ("z",), or ("z", "w", "w+").
        size: N.
        w_shape: (L, W); None without w.
        is_continuous: bool `[N]`, whether a number of z is a float, which has derivatives.
        noise: the shapes of the maps of noise that the layers add, a pytree of `jax.ShapeDtypeStruct` `[h, w]`;
            None: the generator draws none, or its maps are variables of the run.

    Raises:
        UserError: the GAN has `inputs` in place of latents.
    """

    def __init__(self, gan: GAN, variables: Variables, classes: int | None):
        if gan.inputs is not None:
            raise UserError("this run's generator makes images from data, and has no latent space")
        self.gan, self.network, self.classes = gan, gan.generator, classes
        example = gan.latent(jax.random.key(0))
        flat, unravel = ravel_pytree(example)
        self.size, self._rows = flat.shape[0], jax.vmap(lambda row: unravel(row.astype(flat.dtype)))
        kinds = jax.tree.map(lambda x: jnp.full(x.shape, jnp.issubdtype(x.dtype, jnp.floating)), example)
        self.is_continuous = np.asarray(ravel_pytree(kinds)[0])
        label = None if classes is None else jnp.zeros(1, jnp.int32)
        self.w_shape: tuple[int, int] | None = None
        if _has_method(self.network, "mapping") and _has_method(self.network, "synthesis"):
            ws = jax.eval_shape(self._mapping, variables, jnp.zeros((1, self.size)), label)
            self.w_shape = ws.shape[-2:] if len(ws.shape) == 3 else None
        self.spaces: tuple[Space, ...] = ("z",) if self.w_shape is None else ("z", "w", "w+")
        self.noise = self._noise_shapes(label)

    def shape(self, space: Space) -> tuple[int, ...]:
        """Returns the shape of one latent of a space.

        Raises:
            UserError: the generator has no such space.
        """
        self.check(space)
        if self.w_shape is None or space == "z":
            return (self.size,)
        return self.w_shape if space == "w+" else self.w_shape[1:]

    def check(self, space: str) -> None:
        """Raises UserError if the generator has no such space."""
        if space not in self.spaces:
            listed = ", ".join(self.spaces)
            raise UserError(f"this run's generator has no space {space}: it has {listed}")

    def draw(self, key: Key, index: jax.Array) -> jax.Array:
        """Returns the z of samples `index`, `[B, N]`, as `runtime.Sampler` draws them with this key."""
        keys = sample_keys(key, jnp.int32(0), Purpose.LATENT, index)
        return jax.vmap(lambda one: ravel_pytree(self.gan.latent(one))[0].astype(jnp.float32))(keys)

    def noise_keys(self, key: Key, count: int) -> Key:
        """Returns `[count]` equal keys: those of the noise of the first sample."""
        return sample_keys(key, jnp.int32(0), Purpose.GENERATOR, jnp.zeros(count, jnp.int32))

    def truncates(self, variables: Variables) -> bool:
        """Returns whether the generator has truncation."""
        if self.w_shape is not None:
            return "w_avg" in variables
        return bool(accepted(self.network, "apply", {"truncation": 0.5}))

    def map(self, variables: Variables, latents: jax.Array, label: Labels | None) -> jax.Array:
        """Returns w `[B, W]` of z `[B, N]`, not truncated."""
        return self._mapping(variables, latents, label)[:, 0]

    def images(
        self,
        variables: Variables,
        latents: jax.Array,
        space: Space,
        label: Labels | None,
        keys: Key | None,
        truncation: float | jax.Array = 1.0,
        noise: PyTree = None,
    ) -> Images:
        """Returns float images `[B, H, W, C]`.

        Args:
            variables: of the generator.
            latents: `[B, *shape(space)]`.
            space: of the latents.
            label: `[B]`; None for a GAN without labels.
            keys: `[B]`, of the noise inside the generator.
            truncation: of w it may be traced; of z without w it is a Python number.
            noise: maps of noise `[B, h, w]`, as the attribute `noise` has them; None: `keys` draw them.
        """
        if self.w_shape is None:
            extra = {"keys": keys, "axis_name": None, "label": label}
            extra |= {} if truncation == 1.0 else {"truncation": truncation}
            output = sample_network(self.network, variables, self._rows(latents), **extra)
            return split_output(output)[0]
        ws = self._truncated(variables, self.layers(variables, latents, space, label), truncation)
        if noise is None:
            return self._synthesis(self.network, variables, ws, keys)
        return jax.vmap(functools.partial(self._with_noise, variables))(ws, noise)

    def layers(self, variables: Variables, latents: jax.Array, space: Space, label: Labels | None) -> jax.Array:
        """Returns w+ `[B, L, W]` of latents of any space."""
        assert self.w_shape is not None
        if space == "w+":
            return latents
        w = self.map(variables, latents, label) if space == "z" else latents
        return jnp.broadcast_to(w[:, None], (len(w), *self.w_shape))

    def _mapping(self, variables: Variables, latents: jax.Array, label: Labels | None) -> jax.Array:
        extra = {"method": "mapping", "label": label, "keys": None, "axis_name": None}
        return sample_network(self.network, variables, self._rows(latents), **extra)

    def _synthesis(self, network: PyTree, variables: Variables, ws: jax.Array, keys: Key | None) -> jax.Array:
        return split_output(sample_network(network, variables, ws, method="synthesis", keys=keys))[0]

    def _truncated(self, variables: Variables, ws: jax.Array, truncation: float | jax.Array) -> jax.Array:
        """Moves w towards the mean w, in the layers that the generator truncates."""
        if "w_avg" not in variables:
            return ws
        cutoff = getattr(self.network, "truncation_cutoff", None)
        is_moved = jnp.arange(ws.shape[1]) < (ws.shape[1] if cutoff is None else cutoff)
        centre = variables["w_avg"]["mean"]
        moved = jnp.where(truncation == 1.0, ws, centre + truncation * (ws - centre))  # 1.0 keeps the bits
        return jnp.where(is_moved[:, None], moved, ws)

    def _with_noise(self, variables: Variables, ws: jax.Array, noise: PyTree) -> jax.Array:
        """Returns the image of one w+ with these maps of noise; a generator with constant noise reads them."""
        fixed = self.network.clone(noise="const")  # type: ignore[union-attr]
        return self._synthesis(fixed, {**variables, _NOISE: noise}, ws[None], None)[0]

    def _noise_shapes(self, label: Labels | None) -> PyTree:
        if self.w_shape is None or not isinstance(self.network, nn.Module):
            return None
        if getattr(self.network, "noise", None) != "random":
            return None
        fixed, z = self.network.clone(noise="const"), jnp.zeros((1, self.size))
        made = jax.eval_shape(lambda key: fixed.init(key, z, label, train=False), jax.random.key(0))
        return made.get(_NOISE)


def _has_method(network: PyTree, name: str) -> bool:
    try:
        accepted(network, "apply", {"method": name})
    except ValueError:
        return False
    return True
