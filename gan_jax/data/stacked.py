"""Three images of one set as the three channels of one: a thousand modes that can be counted."""

import numpy as np

from ..errors import UserError
from .source import MOST_ROWS, Source, checked_indices, digest


class Stacked:
    """Images `(H, W, 3)`, each channel a row of a one-channel labelled source; see `stacked`."""

    def __init__(self, source: Source, count: int, seed: int):
        if len(source.shape) != 3 or source.shape[2] != 1 or source.classes is None:
            raise UserError(
                f"stacked needs one-channel images with labels, and '{source.fingerprint()}' has samples of shape "
                f"{tuple(source.shape)} and {source.classes or 'no'} classes: pass channels=1, or another source"
            )
        if count < 1:
            raise UserError(f"count of the stacked images must be at least 1, not {count}")
        if count > MOST_ROWS:
            raise UserError(f"count of the stacked images must be at most {MOST_ROWS}, not {count}")
        if source.classes**3 >= 2**31:
            raise UserError(f"stacked counts the cube of {source.classes} classes: there is room for 1290 at most")
        self.source, self._count, self._seed = source, count, seed
        self.shape, self.dtype = (*source.shape[:2], 3), source.dtype
        self.single_classes = source.classes
        self.classes: int | None = source.classes**3
        self._rows = np.random.default_rng(seed).integers(0, len(source), (count, 3))

    def __len__(self) -> int:
        return self._count

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        rows = self._rows[checked_indices(indices, self._count)]  # [n, 3]
        single = self.source.read(rows.reshape(-1))
        image = np.moveaxis(single["image"][..., 0].reshape(*rows.shape, *self.shape[:2]), 1, 3)
        digits = single["label"].reshape(rows.shape)
        return {"image": np.ascontiguousarray(image), "label": stacked_label(digits, self.single_classes)}

    def fingerprint(self) -> str:
        rows = digest(np.ascontiguousarray(self._rows).data.cast("B"))  # NumPy may draw others one day
        return f"stacked n={self._count} seed={self._seed} #{rows} of {self.source.fingerprint()}"

    @property
    def split(self) -> str:
        return getattr(self.source, "split", "")


def stacked(source: Source, count: int = 128_000, seed: int = 0) -> Stacked:
    """`count` images of three channels, each channel drawn with replacement from a one-channel labelled `source`.

    With K classes there are K^3 modes, the label `K^2 a + K b + c` of the channels' labels a, b, c: for digits the
    "stacked MNIST" of Metz et al., "Unrolled GAN", 2017, and Srivastava et al., "VEEGAN", 2017 (128,000 images in
    Lin et al., "PacGAN", 2018). `data.source.source` says which source: digits, tfds, ...
    """
    return Stacked(source, count, seed)


def stacked_label(digits: np.ndarray, classes: int) -> np.ndarray:
    """`[n, 3]` labels of the channels to int32 `[n]` labels of the stack."""
    return (digits @ np.array([classes**2, classes, 1])).astype(np.int32)
