"""Images as the networks see them, floating numbers in [-1, 1], and as files hold them, uint8 in [0, 255]."""

import jax
import jax.numpy as jnp
import numpy as np

from .types import Images


def to_float(image: jax.Array) -> Images:
    """uint8 `[0, 255]` to float32 `[-1, 1]`; floating images pass as they are."""
    return image.astype(jnp.float32) / 127.5 - 1.0 if image.dtype == jnp.uint8 else image


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Values in [-1, 1] to 0..255, rounded; what lies outside is clipped, NaN is 0; uint8 stays."""
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    scaled = np.clip(np.nan_to_num((images.astype(np.float32) + 1) * 127.5, nan=0.0), 0, 255)
    return np.rint(scaled).astype(np.uint8)
