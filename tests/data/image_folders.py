"""Small folders of images for tests."""

import numpy as np
from PIL import Image

RNG = np.random.default_rng(4)


def noise(height=20, width=20):
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), np.uint8))


def write(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def numbered(root, names):
    """Writes a folder for each name, with images whose grey level is that of its place in `names`."""
    for tone, name in enumerate(names):
        for i in range(2):
            write(root / name / f"{i}.png", np.full((8, 8), 10 * tone, np.uint8))
    return str(root)
