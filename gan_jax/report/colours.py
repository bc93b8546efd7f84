"""The colours of grids and plots."""

import numpy as np

BACKGROUND, INK, POINT, CENTER = 255, (150, 150, 150), (31, 96, 196), (214, 69, 45)


def three_channels(images: np.ndarray) -> np.ndarray:
    """Returns images of three channels: one channel is repeated, a missing third is 0, a fourth is dropped."""
    channels = images.shape[-1]
    if channels == 1:
        return np.repeat(images, 3, axis=-1)
    missing = [(0, 0)] * (images.ndim - 1) + [(0, max(0, 3 - channels))]
    return np.pad(images[..., :3], missing)
