"""Directions in latent space along which images change in one way.

Three methods, all without training: SeFa (Shen and Zhou, "Closed-form factorization of latent semantics in GANs",
2021), GANSpace (Härkönen et al., "GANSpace: discovering interpretable GAN controls", 2020) and class means.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import UserError
from .first_layer import first_layer

if TYPE_CHECKING:
    from .images import LatentImages

METHODS = ("sefa", "pca", "classes")
DRAWN = 10_000  # latents that the methods measure
_NUMBERS = 2**26  # of activations in memory, at most
_FEWEST = 20  # samples of a class, below which its mean is mostly chance


class Directions(NamedTuple):
    """Directions in a space of latents.

    Attributes:
        method: "sefa", "pca" or "classes".
        space: "z" or "w".
        names: of the directions, K.
        vectors: `[K, N]` float32, each of length 1.
        scales: `[K]` float32, the distance along each that is a typical move: one standard deviation of latents.
    """

    method: str
    space: str
    names: tuple[str, ...]
    vectors: np.ndarray
    scales: np.ndarray


def moved(latents: np.ndarray, directions: Directions, amounts: Sequence[float] | np.ndarray) -> np.ndarray:
    """Returns latents that are moved along all directions at once, in a new array.

    Args:
        latents: `[count, N]` of the space of the directions, or `[count, L, N]` of w+, moved in each layer.
        directions: K of them.
        amounts: `[K]` or `[count, K]`, in typical moves (`Directions.scales`).
    """
    shift = (np.asarray(amounts, np.float32) * directions.scales) @ directions.vectors
    return latents + (shift if latents.ndim == 2 or shift.ndim == 1 else shift[:, None])


def steps_along(latent: np.ndarray, directions: Directions, amounts: Sequence[float]) -> np.ndarray:
    """Returns one latent moved along each direction alone by each amount, `[K, len(amounts), ...]`.

    `latent`: `[N]` of the space of the directions, or `[L, N]` of w+, moved in each layer.
    """
    shifts = np.asarray(amounts, np.float32)[None, :, None] * directions.scales[:, None, None]
    moves = shifts * directions.vectors[:, None]
    return latent + (moves if latent.ndim == 1 else moves[:, :, None])


def sefa(images: "LatentImages", space: str, count: int = 10) -> Directions:
    """Returns the directions that change the output of the first layer most, for a step of the same length.

    They are the eigenvectors of A^T A with the largest eigenvalues. A is the matrix by which latents enter the
    generator: those of all layers that take z, or w, linearly, one below the other. For w these are the affine
    layers of all convolutions.

    Raises:
        UserError: the generator changes its latents before any layer does, as StyleGAN2 does z.
    """
    images.generator.check(space)
    network = _network(images, space)
    size = images.generator.shape(space)[-1]  # pyright: ignore[reportArgumentType]

    def products(variables: dict, latent: jax.Array) -> jax.Array:
        made = first_layer(lambda x: network(variables, x, _first_label(images)), latent[None]).products
        if not made:
            raise UserError(
                f"no layer of this generator takes {space} as it is, so SeFa has no matrix to read: use another "
                f"--space ({', '.join(images.spaces)}) or --method"
            )
        return jnp.concatenate([x.astype(jnp.float32).ravel() for x in made])

    matrix = jax.jit(images.traced(jax.jacfwd(products, argnums=1)))(images.variables, jnp.zeros(size))
    matrix = np.asarray(matrix, np.float64)
    _, axes = np.linalg.eigh(matrix.T @ matrix)
    return _directions(images, "sefa", space, axes.T[::-1][:count])


def pca(images: "LatentImages", space: str, count: int = 10, seed: int = 0) -> Directions:
    """Returns principal directions: those in which 10,000 drawn latents make the generator vary most.

    In w they are the principal components of w. In z they are those of the activations of the first layer, each
    carried over to z by linear regression of z on the component: `u_k = sum_j x_jk z_j / sum_j x_jk^2`, with x the
    coordinates of sample j. Of a conditional run, w and activations are centred within each class.

    Raises:
        UserError: the generator has no second layer, so that there are no activations.
    """
    images.generator.check(space)
    if space == "w":
        values, z, label = _drawn(images, DRAWN, seed)[0], None, _cycle(images, DRAWN)
    else:
        values, z, label = _activations(images, seed)
    centred = _centred(values.astype(np.float64), label)
    if z is None:
        _, axes = np.linalg.eigh(centred.T @ centred)
        return _directions(images, "pca", space, axes.T[::-1][:count])
    coordinates = _principal(centred, count)
    vectors = coordinates.T @ (z - z.mean(axis=0)) / np.sum(coordinates**2, axis=0)[:, None]
    return _directions(images, "pca", space, vectors)


def class_means(
    images: "LatentImages", space: str, classify: Callable[[np.ndarray], np.ndarray] | None = None,
    names: Sequence[str] = (), seed: int = 0,
) -> Directions:  # fmt: skip
    """Returns a direction for each class: from the mean of all latents to the mean of those that show the class.

    A conditional run has them in w: the mean w of class c, over the same z for each class, minus the mean over
    classes. Of a run without labels, `classify` looks at 10,000 samples: the mean of class c is that of their
    latents, weighted by the probability of c.

    Args:
        images: of the run.
        space: "z" or "w".
        classify: returns logits `[n, K]` of uint8 images `[n, H, W, C]`; for a run without labels.
        names: of the K classes that `classify` knows.
        seed: of the latents.

    Raises:
        UserError: the run is conditional and has no w: there z says nothing about the class. Or there is no
            classifier, or no class is shown often enough.
    """
    images.generator.check(space)
    if images.class_names is not None:
        if space != "w":
            raise UserError(
                "the class of this run's samples is its label, and no direction of z: use another --method, or "
                "gan-jax sample --labels"
            )
        z = images.latents(seed, DRAWN // 10)
        means = np.stack([images.map(z, c).mean(axis=0) for c in range(len(images.class_names))])
        return _named(images, space, images.class_names, means - means.mean(axis=0))
    if classify is None:
        raise UserError("this run has no labels, and without a classifier nothing says which class a sample shows")
    latents, z = _drawn(images, DRAWN, seed) if space == "w" else (images.latents(seed, DRAWN),) * 2
    share = np.concatenate([_softmax(classify(images(part))) for part in np.array_split(z, 10)])
    weight = share.sum(axis=0)
    means = share.T @ latents / np.maximum(weight, 1e-9)[:, None] - latents.mean(axis=0)
    seen = np.flatnonzero(weight >= _FEWEST)
    if len(seen) < 2:
        raise UserError(
            "the classifier sees fewer than two classes in 10,000 samples: there is nothing between them"
        )
    return _named(images, space, [names[int(c)] for c in seen], means[seen])


def _named(images: "LatentImages", space: str, names: Sequence[str], vectors: np.ndarray) -> Directions:
    return _directions(images, "classes", space, vectors)._replace(names=tuple(names))


def _directions(images: "LatentImages", method: str, space: str, vectors: np.ndarray) -> Directions:
    """Gives vectors length 1, a sign that is always the same, a number as name, and a scale."""
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    if method != "classes":  # their sign means something
        largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
        vectors = vectors * np.sign(largest)
    drawn = images.latents(0, DRAWN)
    latents = images.map(drawn) if space == "w" else drawn
    scales = (latents @ vectors.T).std(axis=0)
    names = tuple(f"{method} {number}" for number in range(1, len(vectors) + 1))
    return Directions(method, space, names, vectors.astype(np.float32), scales.astype(np.float32))


def _network(images: "LatentImages", space: str) -> Callable:
    """Returns the generator as a function of variables, latents and labels."""
    keys = images.generator.noise_keys(jax.random.key(0), 1)

    def network(variables: dict, latents: jax.Array, label: jax.Array | None) -> jax.Array:
        each = jnp.broadcast_to(keys, (len(latents),))
        return images.generator.images(variables, latents, space, label, each)  # pyright: ignore[reportArgumentType]

    return network


def _first_label(images: "LatentImages") -> jax.Array | None:
    return None if images.class_names is None else jnp.zeros(1, jnp.int32)


def _cycle(images: "LatentImages", count: int) -> np.ndarray | None:
    return None if images.class_names is None else np.arange(count) % len(images.class_names)


def _drawn(images: "LatentImages", count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    z = images.latents(seed, count)
    return images.map(z), z


def _activations(images: "LatentImages", seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns activations of the first layer `[n, D]`, their z `[n, N]` and labels, as many as memory has room."""
    network = _network(images, "z")

    def activations(variables: dict, z: jax.Array, label: jax.Array | None) -> jax.Array:
        made = first_layer(lambda x: network(variables, x, label), z).activations
        if made is None or len(made) != len(z):
            raise UserError("this generator has no second layer, so its first one has no activations: use sefa")
        return made.reshape(len(z), -1).astype(jnp.float32)

    function = jax.jit(images.traced(activations))
    z, label = images.latents(seed, DRAWN), _cycle(images, DRAWN)
    parts: list[np.ndarray] = []
    for first in range(0, DRAWN, 250):
        block = slice(first, first + 250)
        some = None if label is None else jnp.asarray(label[block])
        parts.append(np.asarray(function(images.variables, jnp.asarray(z[block]), some)))
        if (len(parts) + 1) * parts[0].size > _NUMBERS and first >= 8 * images.size:
            break
    values = np.concatenate(parts)
    return values, z[: len(values)], None if label is None else label[: len(values)]


def _centred(values: np.ndarray, label: np.ndarray | None) -> np.ndarray:
    """Subtracts the mean of each class."""
    if label is None:
        return values - values.mean(axis=0)
    values = values.copy()
    for one in np.unique(label):
        values[label == one] -= values[label == one].mean(axis=0)
    return values


def _principal(centred: np.ndarray, count: int) -> np.ndarray:
    """Returns the coordinates `[n, count]` of rows `[n, D]` in their principal components, largest first."""
    if centred.shape[0] >= centred.shape[1]:
        _, axes = np.linalg.eigh(centred.T @ centred)
        return centred @ axes[:, ::-1][:, :count]
    squares, sides = np.linalg.eigh(centred @ centred.T)
    return sides[:, ::-1][:, :count] * np.sqrt(np.maximum(squares[::-1][:count], 1e-12))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
