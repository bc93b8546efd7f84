"""What an augmentation is, and the two simplest."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..types import Images, Key, Logits, Metrics, PyTree


def _silent(state: PyTree) -> Metrics:
    return {}


class Augment(NamedTuple):
    """Attributes:
    init: `() -> state`.
    apply: `(state, images [B, *S], keys [B]) -> images [B, *S]`; differentiable in the images, twice.
    update: `(state, real_logits, images) -> state`, once a step, with the logits of the whole global
        batch of reals and the number of images of a step.
    metrics: `state -> scalars`, by name, for the step's metrics; those of the state after the update.
    """

    init: Callable[[], PyTree]
    apply: Callable[[PyTree, Images, Key], Images]
    update: Callable[[PyTree, Logits, int], PyTree]
    metrics: Callable[[PyTree], Metrics] = _silent


def still(state: PyTree, real_logits: Logits, images: int) -> PyTree:
    """The update of an augmentation that does not change."""
    return state


def identity() -> Augment:
    """No augmentation."""
    return Augment(init=lambda: (), apply=lambda state, images, keys: images, update=still)


def mirror(probability: float = 0.5) -> Augment:
    """Each image flipped left to right with `probability`. Images are `[B, H, W, C]`.

    Raises:
        ValueError: `probability` is not in [0, 1], or samples are no images.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"mirror's probability is from 0 to 1, not {probability}")

    def apply(state: PyTree, images: Images, keys: Key) -> Images:
        if images.ndim != 4:
            raise ValueError(f"mirror flips images [B, H, W, C], not samples of shape {images.shape[1:]}")
        flip = jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys)
        return jnp.where(flip[:, None, None, None], images[:, :, ::-1], images)

    return Augment(init=lambda: (), apply=apply, update=still)


def check_color(images: jax.Array, name: str) -> None:
    """Raises ValueError unless images are floating `[B, H, W, C]` with 1 or 3 channels."""
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"{name} takes floating images [B, H, W, C] with 1 or 3 channels, not {images.dtype} {images.shape}"
        )
