"""A source that holds its arrays in memory; digits, npz and gaussians use it."""

import functools

import numpy as np

from .decode import Values
from .images import Transform
from .ranges import range_notes
from .source import checked_indices, describe_shape, hash_parts


class Arrays:
    """A source whose samples are in memory; images are resized when they are read.

    Args:
        image: uint8 [N, H, W, C] with C = 1, 3 or 4 (RGBA, composed on white), float32 [N, ...], or uint8 of any
            other rank. With a range in `transform` images may be of any numbers.
        label: int32 [N] in [0, classes), or None.
        class_names: a name for each class; None: they are numbers.
    """

    def __init__(
        self,
        name: str,
        image: np.ndarray,
        label: np.ndarray | None = None,
        classes: int | None = None,
        transform: Transform | None = None,
        class_names: tuple[str, ...] | None = None,
    ):
        if (label is None) != (classes is None) or (label is not None and len(label) != len(image)):
            raise ValueError("give label and classes together, with one label for each sample")
        self.name, self.image, self.label, self.classes = name, image, label, classes
        self.class_names = class_names
        self.dtype, self.shape = image.dtype, image.shape[1:]
        self._transform = transform or Transform()
        self._unchanged = True
        self._is_image = is_image(image, self._transform)
        if self._is_image:
            height, width, channels = image.shape[1:]
            self.shape = self._transform.shape(height, width, 1 if channels == 1 else 3)
            self._unchanged = self.shape == image.shape[1:] and self._transform.range is None
            self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.image)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = checked_indices(indices, len(self))
        image = self.image[indices]
        if not self._unchanged:
            resized = [self._transform.array(row, self.shape[-1]) for row in image]
            image = np.stack(resized) if resized else np.empty((0, *self.shape), self.dtype)
        rows = {"image": image}
        if self.label is not None:
            rows["label"] = self.label[indices]
        return rows

    def notes(self) -> list[str]:
        """Returns a note if images use a small part of their range."""
        if not self._is_image:
            return []
        full = float(np.iinfo(self.image.dtype).max) if self.image.dtype.kind in "iu" else 1.0
        colours = self.image[..., :3]
        return range_notes([Values(float(colours.min()), float(colours.max()), full)], self._transform)

    @functools.cached_property
    def _content_hash(self) -> str:
        arrays = [self.image] if self.label is None else [self.image, self.label]
        return hash_parts(np.ascontiguousarray(array).data.cast("B") for array in arrays)

    def fingerprint(self) -> str:
        words = [self.name, f"n={len(self)}", describe_shape(self.shape)]
        if not self._unchanged:
            words.append(self._transform.describe())
        return " ".join([*words, f"#{self._content_hash}"])


def is_image(samples: np.ndarray, transform: Transform) -> bool:
    """Returns whether the samples [N, ...] are images of bytes, or become such images by the range."""
    return samples.ndim == 4 and (samples.dtype == np.uint8 or transform.range is not None)


def is_audio(samples: np.ndarray) -> bool:
    """Returns whether the samples [N, ...] are mono or stereo audio [N, T, C], as `report.view` shows them."""
    return samples.ndim == 3 and samples.shape[2] <= 2
