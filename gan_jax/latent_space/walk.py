"""Walks between latents."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from ..runtime.sampler import slerp
from .generator import Space

if TYPE_CHECKING:
    from .images import LatentImages
    from .kept import KeptLatents


def walk(latents: np.ndarray, space: Space, steps: int) -> np.ndarray:
    """Returns `steps` latents on the way from each latent to the next, and from the last to the first.

    z moves on great circles (`runtime.sampler.slerp`), w and w+ on straight lines.

    Args:
        latents: `[count, ...]` of one space.
        space: of the latents.
        steps: each way begins with its latent, and ends one step before the next.

    Returns:
        `[count * steps, ...]`, float32.
    """
    t = np.arange(steps, dtype=np.float32) / steps
    ways = [between(*ends, space, t) for ends in zip(latents, np.roll(latents, -1, axis=0))]
    return np.concatenate(ways)


def between(first: np.ndarray, last: np.ndarray, space: Space, t: np.ndarray) -> np.ndarray:
    """Returns latents on the way from `first` (t = 0) to `last` (t = 1), float32 `[len(t), ...]`; see `walk`."""
    if space == "z":
        ways = jax.vmap(slerp, (None, None, 0))(jnp.asarray(first), jnp.asarray(last), jnp.asarray(t))
        return np.asarray(ways, np.float32)
    share = t.reshape(-1, *[1] * first.ndim)
    return ((1 - share) * first + share * last).astype(np.float32)


def common_space(
    images: "LatentImages", stored: Sequence["KeptLatents"]
) -> tuple[np.ndarray, Space, np.ndarray | None]:
    """Returns kept latents as rows of one array, the space that has them all, and their labels.

    Where they are of several spaces, z is mapped to w, and w is given to each layer of w+.
    """
    spaces: list[Space] = [images.check_space(one.space) for one in stored]
    order: tuple[Space, ...] = ("z", "w", "w+")
    space = max(spaces, key=order.index)
    parts = []
    for one, of in zip(stored, spaces, strict=True):
        if of != space:
            latents = images.map(one.latents, one.labels) if space == "w" else None
            parts.append(images.layers(one.latents, of, one.labels) if latents is None else latents)
        else:
            parts.append(one.latents)
    if images.class_names is None or any(one.labels is None for one in stored):
        return np.concatenate(parts), space, None
    return np.concatenate(parts), space, np.concatenate([one.labels for one in stored])  # pyright: ignore
