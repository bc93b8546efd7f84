"""A source that stacks three grey images as the channels of one; with digits it has 1000 modes to count."""

import numpy as np

from ..errors import UserError
from .source import MAX_ROWS, Source, before, checked_indices, hash_parts, notes


class Stacked:
    """A source of images (H, W, 3) whose channels are rows of a labelled one-channel source; see `stacked`."""

    def __init__(self, source: Source, count: int, seed: int):
        if len(source.shape) != 3 or source.shape[2] != 1 or source.classes is None:
            raise UserError(
                f"stacked needs one-channel images with labels, but '{source.fingerprint()}' has samples of shape "
                f"{tuple(source.shape)} and {source.classes or 'no'} classes: pass channels=1, or another source"
            )
        if count < 1:
            raise UserError(f"count of the stacked images must be at least 1, not {count}")
        if count > MAX_ROWS:
            raise UserError(f"count of the stacked images must be at most {MAX_ROWS}, not {count}")
        if source.classes**3 >= 2**31:
            raise UserError(f"stacked needs a source of at most 1290 classes, not {source.classes}")
        self.source, self._count, self._seed = source, count, seed
        self.shape, self.dtype = (*source.shape[:2], 3), source.dtype
        self.single_classes = source.classes
        self.classes: int | None = source.classes**3
        self._rows = np.random.default_rng(seed).integers(0, len(source), (count, 3))

    def __len__(self) -> int:
        return self._count

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        rows = self._rows[checked_indices(indices, self._count)]  # [n, 3]
        read = self.source.read(rows.reshape(-1))
        image = np.moveaxis(read["image"][..., 0].reshape(*rows.shape, *self.shape[:2]), 1, 3)
        label = stacked_label(read["label"].reshape(rows.shape), self.single_classes)
        return {"image": np.ascontiguousarray(image), "label": label}

    def notes(self) -> list[str]:
        return notes(self.source)

    def before(self) -> "tuple[Stacked, str] | None":
        earlier = before(self.source)
        if earlier is None:
            return None
        return Stacked(earlier[0], self._count, self._seed), self._fingerprint(earlier[1])

    def fingerprint(self) -> str:
        return self._fingerprint(self.source.fingerprint())

    def _fingerprint(self, single: str) -> str:
        # The rows too, because another version of NumPy may draw other rows from the same seed.
        rows_hash = hash_parts([np.ascontiguousarray(self._rows).data.cast("B")])
        return f"stacked n={self._count} seed={self._seed} #{rows_hash} of {single}"

    @property
    def split(self) -> str:
        return getattr(self.source, "split", "")


def stacked(source: Source, count: int = 128_000, seed: int = 0) -> Stacked:
    """Returns a source of `count` images whose three channels are drawn with replacement from `source`.

    `source` has one channel and K classes. The result has K^3 classes: channels with the labels a, b, c give the
    label `K^2 a + K b + c`. MNIST digits give the "stacked MNIST" of Metz et al., "Unrolled GAN", 2017, and
    Srivastava et al., "VEEGAN", 2017; Lin et al., "PacGAN", 2018, use 128,000 images. In a config,
    `data.source.source` names the source.
    """
    return Stacked(source, count, seed)


def stacked_label(channel_labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns int32 [n] labels of the stacked images from the labels [n, 3] of their channels."""
    return (channel_labels @ np.array([classes**2, classes, 1])).astype(np.int32)
