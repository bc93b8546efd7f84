"""Chooses the features that a projection compares beside pixels."""

import importlib.util

from ..metrics.features import efficientnet_lite0
from ..metrics.features.perceptual import PerceptualNetwork, efficientnet_lite0_maps

_LEAST = 32  # pixels of the smaller side, below which the deep features of an image say nothing


def choose_features(shape: tuple[int, ...], weight: float = 1.0) -> tuple[PerceptualNetwork | None, str]:
    """Returns EfficientNet-Lite0's features for images of shape (H, W, C), and a line on what is compared.

    There is no network where `weight` is 0, where images are too small, or where the extra `features` of gan_jax
    is not installed.
    """
    height, width, channels = shape
    if not weight:
        return None, "distance: pixels alone"
    if min(height, width) < _LEAST:
        why = f"images of {height}x{width} pixels are too small for features, which need {_LEAST}"
    elif channels not in (1, 3):
        why = "features are those of grey and RGB images"
    elif importlib.util.find_spec(efficientnet_lite0.PACKAGE) is None:
        why = f"{efficientnet_lite0.INSTALL} adds features"
    else:
        return efficientnet_lite0_maps(), "distance: pixels, and features of EfficientNet-Lite0"
    return None, f"distance: pixels alone; {why}"
