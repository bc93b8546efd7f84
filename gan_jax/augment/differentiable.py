"""DiffAugment: Zhao et al., "Differentiable augmentation for data-efficient GAN training", 2020.

The operations act on one image `[H, W, C]`, or in the same way on all frames of one video `[D, H, W, C]`, and take
their random parameters as arguments.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..types import Images, Key, PyTree
from .base import Augment, check_color, keep_state


def brightness(image: jax.Array, offset: jax.Array | float) -> jax.Array:
    """Returns `x + offset`; the policy draws offset from U(-0.5, 0.5)."""
    return image + offset


def saturation(image: jax.Array, factor: jax.Array | float) -> jax.Array:
    """Returns `m + factor (x - m)`, m being each pixel's mean over channels; the policy draws from U(0, 2)."""
    mean = jnp.mean(image, axis=-1, keepdims=True)
    return mean + factor * (image - mean)


def contrast(image: jax.Array, factor: jax.Array | float) -> jax.Array:
    """Returns `m + factor (x - m)`, m being the mean of the image or video; the policy draws from U(0.5, 1.5)."""
    mean = jnp.mean(image)
    return mean + factor * (image - mean)


def translation(
    image: jax.Array, down: jax.Array | int, right: jax.Array | int, ratio: float = 1 / 8
) -> jax.Array:
    """Moves the image by whole pixels, at most `int(side ratio + 0.5)` each way, and fills with zeros."""
    limit, frames = shifts(image.shape, ratio), image.ndim - 3
    padded = jnp.pad(image, [(0, 0)] * frames + [(limit[0], limit[0]), (limit[1], limit[1]), (0, 0)])
    return jax.lax.dynamic_slice(padded, (*(0,) * frames, limit[0] - down, limit[1] - right, 0), image.shape)


def cutout(image: jax.Array, row: jax.Array | int, column: jax.Array | int, ratio: float = 1 / 2) -> jax.Array:
    """Sets a box of `int(side ratio + 0.5)` pixels to zero; it starts half its size above and left of a pixel."""
    inside = []
    for side, center in zip(image.shape[-3:-1], (row, column)):
        size = int(side * ratio + 0.5)
        i = jnp.arange(side) - (center - size // 2)
        inside.append((i >= 0) & (i < size))
    box = inside[0][:, None] & inside[1][None, :]
    return jnp.where(jnp.expand_dims(box, (*range(image.ndim - 3), -1)), 0.0, image)


def shifts(shape: tuple[int, ...], ratio: float) -> tuple[int, int]:
    """Returns the largest translation down and right, in pixels."""
    return int(shape[-3] * ratio + 0.5), int(shape[-2] * ratio + 0.5)


def _color(image: jax.Array, key: Key) -> jax.Array:
    b, s, c = jax.random.uniform(key, (3,), image.dtype)
    return contrast(saturation(brightness(image, b - 0.5), 2 * s), c + 0.5)


def _translation(image: jax.Array, key: Key) -> jax.Array:
    limit = jnp.asarray(shifts(image.shape, 1 / 8))
    down, right = jax.random.randint(key, (2,), -limit, limit + 1)
    return translation(image, down, right)


def _cutout(image: jax.Array, key: Key) -> jax.Array:
    sides = image.shape[-3:-1]
    sizes = [int(side / 2 + 0.5) for side in sides]
    ends = jnp.asarray([side + 1 - size % 2 for side, size in zip(sides, sizes)])
    row, column = jax.random.randint(key, (2,), 0, ends)
    return cutout(image, row, column)


POLICIES: dict[str, Callable[[jax.Array, Key], jax.Array]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}


def diff_augment(policy: str | tuple[str, ...] = "color,translation,cutout") -> Augment:
    """DiffAugment: augments every image by each part of the policy, in the order given.

    "color" is brightness U(-0.5, 0.5), saturation U(0, 2) and contrast U(0.5, 1.5); "translation" moves by up to
    1/8 of each side; "cutout" sets a box of half of each side to zero. Images are `[B, H, W, C]` with C 1 or 3, of
    any floating type; 16-bit images are computed in float32 and cast back. Video and volumes `[B, D, H, W, C]` get
    the same colour, translation and box in every frame, so what moves keeps its motion.

    Raises:
        ValueError: a part of the policy is unknown, or the images have another shape.
    """
    parts = tuple(part.strip() for part in policy.split(",")) if isinstance(policy, str) else tuple(policy)
    for part in parts:
        if part not in POLICIES:
            raise ValueError(f"diff_augment has no operation {part!r}: use {', '.join(POLICIES)}")

    def augment_one(image: jax.Array, key: Key) -> jax.Array:
        for part in parts:
            # Each operation folds in its own number, so its draws do not depend on the rest of the policy.
            image = POLICIES[part](image, jax.random.fold_in(key, list(POLICIES).index(part)))
        return image

    def apply(state: PyTree, images: Images, keys: Key) -> Images:
        check_color(images, "diff_augment", (4, 5))
        x = images.astype(jnp.promote_types(images.dtype, jnp.float32))
        return jax.vmap(augment_one)(x, keys).astype(images.dtype)

    return Augment(init=lambda: (), apply=apply, update=keep_state)
