"""Extractors: frozen networks that compute the features of images."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ...parallel import AXIS, make_mesh
from ...types import Device, PyTree


class Extracted(NamedTuple):
    """The outputs of an extractor for a batch.

    Attributes:
        features: `[B, D]` float32.
        logits: `[B, K]` float32, before the softmax; None if the network has none.
    """

    features: jax.Array
    logits: jax.Array | None


@dataclass(frozen=True, eq=False)
class Extractor:
    """A frozen network that computes the features of images.

    Attributes:
        name: such as "inception_v3".
        weights: the first 16 hexadecimal digits of the SHA-256 of the weights.
        resize: how images are resized to the network's input, in words.
        size: the number D of features.
        params: a pytree of NumPy arrays.
        apply: a pure function `(params, images) -> Extracted` of uint8 images `[B, H, W, C]` with C = 1 or 3.
        notes: sentences that a reader of a number from these features needs.
    """

    name: str
    weights: str
    resize: str
    size: int
    params: PyTree
    apply: Callable[[PyTree, jax.Array], Extracted]
    notes: tuple[str, ...] = ()

    def notes_on(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Returns the notes on features of images of this shape, `(H, W, C)`."""
        height, width = shape[:2]
        if height == width or self.resize == "none":
            return self.notes
        return (*self.notes, f"images of {height} x {width} were stretched to the square that {self.name} reads")


def extract(
    extractor: Extractor,
    batches: Iterable[np.ndarray],
    *,
    batch: int = 64,
    devices: Sequence[Device] | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Computes the features of all images, in their order.

    Args:
        extractor: the network.
        batches: uint8 images `[n, H, W, C]`, any n at a time, all of one size.
        batch: images that the network gets at a time, on all devices together. It is rounded up to a multiple of
            the number of devices.
        devices: None is all devices of this process.

    Returns:
        features `[N, D]` float32, and logits `[N, K]` float32 or None.

    Raises:
        ValueError: there are no images, or they are not uint8 images of one size.
    """
    mesh = make_mesh(jax.local_devices() if devices is None else devices)
    if batch < 1:
        raise ValueError(f"batch must be at least 1 image, got {batch}")
    batch = -(-batch // mesh.size) * mesh.size
    replicated, split = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))
    params = jax.device_put(extractor.params, replicated)
    apply = jax.jit(extractor.apply)  # jit caches by function, so a second call of `extract` compiles nothing
    # On several CPU devices no program may wait behind another. Elsewhere the next batch is prepared meanwhile.
    in_flight = 0 if mesh.devices.flat[0].platform == "cpu" else 1
    pending: deque[tuple[Extracted, int]] = deque()
    done: list[Extracted] = []
    for images in _rebatch(batches, batch):
        padding = [(0, batch - len(images)), (0, 0), (0, 0), (0, 0)]
        pending.append((apply(params, jax.device_put(np.pad(images, padding), split)), len(images)))
        if len(pending) > in_flight:
            done.append(_fetch(*pending.popleft()))
    done += [_fetch(*entry) for entry in pending]
    if not done:
        raise ValueError("features were requested, but there are no images")
    logits = [part.logits for part in done if part.logits is not None]
    return np.concatenate([part.features for part in done]), np.concatenate(logits) if logits else None


def _fetch(extracted: Extracted, count: int) -> Extracted:
    """Copies the outputs of the first `count` images to the host, without those of the padding."""
    return jax.tree.map(lambda x: np.asarray(x)[:count], extracted)


def _rebatch(batches: Iterable[np.ndarray], batch: int) -> Iterator[np.ndarray]:
    """Yields the same images in order, `batch` at a time, and the rest at the end."""
    kept: list[np.ndarray] = []
    shape, count = None, 0
    for images in batches:
        _check(images, shape)
        shape = images.shape[1:]
        while len(images):
            part, images = images[: batch - count], images[batch - count :]
            kept.append(part)
            count += len(part)
            if count == batch:
                yield np.concatenate(kept)
                kept, count = [], 0
    if kept:
        yield np.concatenate(kept)


def _check(images: np.ndarray, shape: tuple[int, ...] | None) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"features need uint8 images [n, H, W, 1 or 3], got {images.dtype} of shape {list(images.shape)}"
        )
    if shape not in (None, images.shape[1:]):
        raise ValueError(f"all images must have one shape, but {images.shape[1:]} comes after {shape}")
