"""A source that holds its arrays in memory; digits, npz and gaussians use it."""

import functools

import numpy as np

from .images import Transform
from .source import checked_indices, describe_shape, hash_parts


class Arrays:
    """A source whose samples are in memory; images are resized when they are read.

    image: uint8 [N, H, W, C] with C = 1, 3 or 4 (RGBA, composed on white), or float32 [N, D].
    label: int32 [N] in [0, classes), or None.
    """

    def __init__(
        self,
        name: str,
        image: np.ndarray,
        label: np.ndarray | None = None,
        classes: int | None = None,
        transform: Transform | None = None,
    ):
        if (label is None) != (classes is None) or (label is not None and len(label) != len(image)):
            raise ValueError("give label and classes together, with one label for each sample")
        self.name, self.image, self.label, self.classes = name, image, label, classes
        self.dtype, self.shape = image.dtype, image.shape[1:]
        self._transform = transform or Transform()
        self._unchanged = True
        if image.ndim == 4:
            height, width, channels = image.shape[1:]
            self.shape = self._transform.shape(height, width, 1 if channels == 1 else 3)
            self._unchanged = self.shape == image.shape[1:]

    def __len__(self) -> int:
        return len(self.image)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = checked_indices(indices, len(self))
        image = self.image[indices]
        if not self._unchanged:
            resized = [self._resize(row) for row in image]
            image = np.stack(resized) if resized else np.empty((0, *self.shape), self.dtype)
        rows = {"image": image}
        if self.label is not None:
            rows["label"] = self.label[indices]
        return rows

    def _resize(self, pixels: np.ndarray) -> np.ndarray:
        from PIL import Image

        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        return self._transform.apply(image, self.shape[-1])

    @functools.cached_property
    def _content_hash(self) -> str:
        arrays = [self.image] if self.label is None else [self.image, self.label]
        return hash_parts(np.ascontiguousarray(array).data.cast("B") for array in arrays)

    def fingerprint(self) -> str:
        words = [self.name, f"n={len(self)}", describe_shape(self.shape)]
        if not self._unchanged:
            words.append(self._transform.describe_resize())
        return " ".join([*words, f"#{self._content_hash}"])
