"""The 1797 handwritten digits of 8 x 8 pixels, which the package contains."""

from pathlib import Path

import numpy as np

from .arrays import Arrays
from .images import Channels, Crop, Filter, Size, Transform
from .source import Mirrored, Source


def digits(
    size: Size | None = None,
    crop: Crop = "center",
    filter: Filter = "lanczos",
    channels: Channels | None = None,
    mirror: bool = False,
) -> Source:
    """Returns a source of 1797 grey digits, (8, 8, 1) unless resized, with labels 0 to 9.

    They are the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (UCI Machine
    Learning Repository, 1998, https://doi.org/10.24432/C50P49, CC BY 4.0), as scikit-learn contains
    them. The values v from 0 to 16 become round(v * 255 / 16).
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as stored:
        values, label = stored["image"], stored["label"]
    image = np.round(values * (255 / 16)).astype(np.uint8)[..., None]
    transform = Transform(size, crop, filter, channels)
    source = Arrays("digits", image, label.astype(np.int32), 10, transform)
    return Mirrored(source) if mirror else source
