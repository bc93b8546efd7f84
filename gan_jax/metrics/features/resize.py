"""Bilinear resizing without antialiasing, as in packages that compute FID. They place the pixels differently.

Half a pixel changes Inception's features by 8 to 33 percent, so numbers of different packages can't be compared.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

Grid = Literal["corner", "half_pixel"]


def sources(n: int, size: int, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes for each of `size` output pixels its two neighbours among `n` input pixels, and their weights.

    Output pixel i lies at i n / size ("corner": TensorFlow 1, torch-fidelity), or at
    max(0, (i + 1/2) n / size - 1/2) ("half_pixel": PyTorch's interpolate, pytorch-fid). As in these packages, it
    is computed in float32.

    Returns:
        the first neighbours `[size]`, the second neighbours `[size]`, and the weights of the second ones `[size]`,
        float32 in [0, 1).
    """
    scale, i = np.float32(n / size), np.arange(size, dtype=np.float32)
    half = np.float32(0.5)
    position = i * scale if grid == "corner" else np.maximum((i + half) * scale - half, np.float32(0))
    low = np.minimum(position.astype(np.int32), n - 1)  # rounding may give n
    return low, np.minimum(low + 1, n - 1), position - low.astype(np.float32)


def bilinear(x: jax.Array, size: int, grid: Grid) -> jax.Array:
    """Resizes float32 images `[B, H, W, C]` to `[B, size, size, C]`; proportions may change."""
    for axis in (2, 1):
        low, high, weight = sources(x.shape[axis], size, grid)
        first, second = jnp.take(x, low, axis=axis), jnp.take(x, high, axis=axis)
        x = first + (second - first) * weight.reshape([size if i == axis else 1 for i in range(4)])
    return x
