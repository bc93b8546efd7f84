"""Penalties on the generator that compare pairs: an image with its reconstruction, a vector with its code."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..outputs import split_output
from ..pytree import widened
from ..types import Generate, Images, Key, Latents, PyTree, Samples, Scalar
from .base import Penalty, calling, stateless, total


@runtime_checkable
class Pair(Protocol):
    """Chooses what is compared."""

    def __call__(self, image: Images, aux: PyTree, inputs: PyTree, real: Samples, /) -> tuple[PyTree, PyTree]:
        """Returns two arrays `[B, ...]` of one shape, or two pytrees of them.

        Args:
            image: what the generator made.
            aux: what it returned besides; None if it returned images alone.
            inputs: what it was called with.
            real: the real samples.
        """
        ...


def _with_real(image: Images, aux: PyTree, inputs: PyTree, real: Samples) -> tuple[PyTree, PyTree]:
    return real.image, image


def reconstruction(norm: str = "l1", pair: Pair | None = None, name: str = "reconstruction") -> Penalty:
    """Returns `E |x - G(z)|`, or `E (x - G(z))^2`: means over the batch and over the elements.

    It is meant for GANs whose inputs are paired with their real samples (`GAN.inputs`). Where they are not paired,
    the best generator makes the *median* of the data in each pixel, whatever z is: a weight above 0 then gives a
    quick, blurred start and costs variety (`docs/first_gan.md` shows it).

    Args:
        norm: "l1" for the absolute difference, "l2" for its square; in float32 at least.
        pair: what is compared; by default the real samples and the generated ones. Of pytrees, the distances of
            all leaves are summed.
        name: of the metric, for a second penalty of this kind.

    Raises:
        ValueError: `norm` is another one. When it is applied: the two shapes differ.
    """
    if norm not in ("l1", "l2"):
        raise ValueError(f"reconstruction: norm must be l1 or l2, got {norm!r}")
    distance = jnp.abs if norm == "l1" else jnp.square
    choose = pair or _with_real

    def compared(frozen: PyTree, output: PyTree, inputs: Latents, real: Samples) -> tuple[PyTree, PyTree]:
        return choose(*split_output(output), inputs, real)

    def value(generate: Generate, inputs: Latents, real: Samples, keys: Key) -> Scalar:
        one, other = compared(None, generate(inputs), inputs, real)
        _check_alike(name, one, other)
        return _mean_over_leaves(distance, one, other)

    return calling(stateless(name, value)._replace(compared=compared), pair)


def _mean_over_leaves(distance: Callable[[jax.Array], jax.Array], one: PyTree, other: PyTree) -> Scalar:
    """Returns the sum over leaves of the mean distance, in float32 at least."""
    means = jax.tree.map(lambda a, b: jnp.mean(distance(a - b)), widened(one), widened(other))
    return total(jax.tree.leaves(means))


def _check_alike(name: str, one: PyTree, other: PyTree) -> None:
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (one, other)]
    if shapes[0] != shapes[1] or not jax.tree.leaves(one):
        raise ValueError(f"{name} compares arrays of one shape, but these have {shapes[0]} and {shapes[1]}")


def commitment(
    beta: float = 0.25,
    of: Callable[[PyTree], tuple[PyTree, PyTree]] | None = None,
    name: str = "commitment",
) -> Penalty:
    """Returns `E (sg[z] - e)^2 + beta E (z - sg[e])^2`: codes e move to the vectors z of the encoder, and z to e.

    Means over the batch and over the elements, in float32 at least; sg stops the gradient. Of pytrees, such as a
    list with one array for each level of a residual quantizer, the values of all leaves are summed. The generator
    is a tokenizer that returns `(images, aux)`, and aux has both, before the straight-through estimator. Van den
    Oord et al., "Neural discrete representation learning", 2017, equation 3.

    Args:
        beta: the weight of the second part, the commitment.
        of: takes `(z, e)` out of aux; by default `aux["encoded"]` and `aux["codes"]`.
        name: of the metric, for a second penalty of this kind.

    Raises:
        ValueError: `beta` is negative. When it is applied: the two shapes differ.
    """
    if not beta >= 0:
        raise ValueError(f"{name}: beta must not be negative, got {beta}")

    def named(aux: PyTree) -> tuple[PyTree, PyTree]:
        if not isinstance(aux, Mapping) or not {"encoded", "codes"} <= set(aux):
            raise ValueError(
                f"{name} reads aux['encoded'] and aux['codes']: let the generator return (images, aux) with "
                "both, or say where they are, as commitment(of=lambda aux: (aux.z, aux.e))"
            )
        return aux["encoded"], aux["codes"]

    choose = of or named

    def compared(frozen: PyTree, output: PyTree, inputs: Latents, real: Samples) -> tuple[PyTree, PyTree]:
        return choose(split_output(output)[1])

    def value(generate: Generate, inputs: Latents, real: Samples, keys: Key) -> Scalar:
        encoded, codes = compared(None, generate(inputs), inputs, real)
        _check_alike(name, encoded, codes)
        of_codes = _mean_over_leaves(lambda gap: gap**2, lax.stop_gradient(encoded), codes)
        return of_codes + beta * _mean_over_leaves(lambda gap: gap**2, encoded, lax.stop_gradient(codes))

    return calling(stateless(name, value)._replace(compared=compared), of)


@runtime_checkable
class FeatureMaps(Protocol):
    """Computes features of images with a network that is not trained. It treats each sample apart."""

    def __call__(self, variables: PyTree, image: Images, /) -> Sequence[jax.Array]:
        """Returns maps `[B, ..., C]` of images `[B, *S]` in [-1, 1], one for each chosen layer."""
        ...


def perceptual(
    features: FeatureMaps,
    key: str = "perceptual",
    weights: Sequence[float | Sequence[float] | np.ndarray | jax.Array] | None = None,
    pair: Pair | None = None,
    name: str = "perceptual",
) -> Penalty:
    """Returns the distance of images in the features of a network: the sum over layers of `E sum_c w_c (a - b)^2`.

    a and b are the maps of the two images, each vector of channels divided by its length; E is the mean over the
    batch and the places of the map. The network's variables are `frozen[key]`, in the third argument of the step.
    Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric" (LPIPS), 2018,
    equation 1, where a channel has the square root of w_c.

    Args:
        features: the network, such as `gan_jax.metrics.features.perceptual.efficientnet_lite0_maps().maps`.
        key: the place of its variables in `frozen`.
        weights: for each layer a number, or one for each channel `[C]` as LPIPS has them; None: 1.
        pair: what is compared; by default the real samples and the generated ones.
        name: of the metric, for a second penalty of this kind.

    Raises:
        ValueError: when it is applied, if `frozen` has no such variables, or `weights` has another length.
    """
    choose = pair or _with_real

    def compared(frozen: PyTree, output: PyTree, inputs: Latents, real: Samples) -> list[Sequence[jax.Array]]:
        if not isinstance(frozen, Mapping) or key not in frozen:
            raise ValueError(
                f"{name} reads the network's variables from frozen[{key!r}]: call step(state, batch, "
                f"{{{key!r}: variables}})"
            )
        return [features(frozen[key], x) for x in choose(*split_output(output), inputs, real)]

    def apply(
        state: PyTree, generate: Generate, inputs: Latents, real: Samples, keys: Key, *, frozen: PyTree = None
    ) -> tuple[Scalar, PyTree]:
        maps = compared(frozen, generate(inputs), inputs, real)
        scales = [1.0] * len(maps[0]) if weights is None else weights
        if len(scales) != len(maps[0]):
            raise ValueError(f"{name} has {len(scales)} weights, but the network has {len(maps[0])} layers")
        layers = zip(scales, *maps, strict=True)
        return total([_weighted_distance(name, jnp.asarray(w), a, b) for w, a, b in layers]), state

    return calling(Penalty(name, lambda: (), apply, compared=compared), pair, features)


def _weighted_distance(name: str, weights: jax.Array, one: jax.Array, other: jax.Array) -> Scalar:
    if weights.shape not in ((), one.shape[-1:]):
        raise ValueError(
            f"{name} has weights of the shape {weights.shape} for a layer of {one.shape[-1]} channels: give "
            "one number for the layer, or one for each channel"
        )
    square = (_unit(one) - _unit(other)) ** 2
    return jnp.mean(jnp.sum(weights.astype(square.dtype) * square, axis=-1))


def _unit(x: jax.Array) -> jax.Array:
    """Divides each vector of channels by its length, in float32; a vector of zeros stays one."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x * lax.rsqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-10)
