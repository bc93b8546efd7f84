"""Bilinear resizing without antialiasing as packages that compute FID do it: their pixels lie in different places.

Half a pixel moves Inception's features by 8 to 33 percent, so a figure holds for one of the conventions only.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

Grid = Literal["corner", "half_pixel"]


def sources(n: int, size: int, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each of `size` pixels reads from in a row of `n`: two neighbours and the weight of the second.

    Pixel i lies at i n / size ("corner": TensorFlow 1, torch-fidelity) or at max(0, (i + 1/2) n / size - 1/2)
    ("half_pixel": PyTorch's interpolate, pytorch-fid), in float32 as there.

    Returns:
        indices `[size]`, indices `[size]` and weights `[size]` float32 in [0, 1).
    """
    scale, i = np.float32(n / size), np.arange(size, dtype=np.float32)
    half = np.float32(0.5)
    at = i * scale if grid == "corner" else np.maximum((i + half) * scale - half, np.float32(0))
    low = np.minimum(at.astype(np.int32), n - 1)  # rounding may reach n
    return low, np.minimum(low + 1, n - 1), at - low.astype(np.float32)


def bilinear(x: jax.Array, size: int, grid: Grid) -> jax.Array:
    """float32 images `[B, H, W, C]` to `[B, size, size, C]`, whatever their proportions."""
    for axis in (2, 1):
        low, high, weight = sources(x.shape[axis], size, grid)
        first, second = jnp.take(x, low, axis=axis), jnp.take(x, high, axis=axis)
        x = first + (second - first) * weight.reshape([size if i == axis else 1 for i in range(4)])
    return x
