"""Small sets that are no images, clips of a moving square and tones: a config names them `small_sets:clips`."""

import numpy as np


class InMemory:
    """A source of samples `[N, *S]` that are in memory."""

    def __init__(self, name, image, label=None, class_names=None, rate=None):
        self.name, self.image, self.label, self.class_names = name, image, label, class_names
        self.shape, self.dtype = image.shape[1:], image.dtype
        self.classes = None if class_names is None else len(class_names)
        if rate is not None:
            self.rate = rate

    def __len__(self):
        return len(self.image)

    def read(self, indices):
        rows = {"image": self.image[indices]}
        return rows if self.label is None else {**rows, "label": self.label[indices].astype(np.int32)}

    def fingerprint(self):
        return f"{self.name} n={len(self)}"


def clips(count: int = 12, length: int = 10, side: int = 8, labels: bool = False) -> InMemory:
    """A white square on black, which moves right, or down where the label is 1; `[length, side, side + 4, 1]`."""
    image = np.zeros((count, length, side, side + 4, 1), np.uint8)
    for index in range(count):
        for time in range(length):
            top, left = (time % side, 2) if index % 2 else (2, time % side)
            image[index, time, top : top + 2, left : left + 2] = 255
    label = (np.arange(count) % 2, ("right", "down")) if labels else (None, None)
    return InMemory("clips", image, *label)


def tones(count: int = 8, length: int = 1024, channels: int = 1, rate: int = 0) -> InMemory:
    """Sines of the amplitude 0.5, float32 `[length, channels]`: sample i has 8 (i + 1) periods in 256 samples."""
    periods = 8 * (1 + np.arange(count))[:, None, None] * (1 + np.arange(channels))
    time = np.arange(length)[:, None] / 256
    return InMemory("tones", 0.5 * np.sin(2 * np.pi * periods * time).astype(np.float32), rate=rate or None)
