"""Converts images between uint8 in [0, 255], as in files, and floats in [-1, 1], as in the networks."""

import jax
import jax.numpy as jnp
import numpy as np

from .types import Images


def to_float(image: Images) -> Images:
    """Converts uint8 [0, 255] to float32 [-1, 1], in each array of a pytree. Floating images stay as they are."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) / 127.5 - 1.0 if x.dtype == jnp.uint8 else x, image)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Converts floats in [-1, 1] to uint8: rounds, clips, and maps NaN to 0. Returns uint8 images unchanged."""
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    scaled = np.clip(np.nan_to_num((images.astype(np.float32) + 1) * 127.5, nan=0.0), 0, 255)
    return np.rint(scaled).astype(np.uint8)
