"""Features without weights, for tests of what is around them: means and deviations of the image's quarters."""

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.errors import UserError
from gan_jax.metrics.features.extractor import Extracted, Extractor

calls: list[tuple[int, ...]] = []  # shapes that were traced


def quarters(scale: float = 1.0) -> Extractor:
    def apply(params: dict, images: jax.Array) -> Extracted:
        calls.append(images.shape)
        n, h, w, c = images.shape
        parts = images.astype(jnp.float32).reshape(n, 2, h // 2, 2, w // 2, c) * params["scale"]
        features = jnp.concatenate([parts.mean((2, 4, 5)).reshape(n, 4), parts.std((2, 4, 5)).reshape(n, 4)], 1)
        return Extracted(features, features[:, :3])

    return Extractor("quarters", f"{scale:016.8f}", "none", 8, {"scale": np.float32(scale)}, apply)


def by_hand(images: np.ndarray) -> np.ndarray:
    """Returns the features of `quarters()` for grey 8 x 8 images, computed with NumPy."""
    parts = images.astype(np.float64).reshape(len(images), 2, 4, 2, 4, 1)
    return np.concatenate([parts.mean((2, 4, 5)).reshape(-1, 4), parts.std((2, 4, 5)).reshape(-1, 4)], 1)


def failing() -> Extractor:
    raise UserError("these features always fail: take others")
