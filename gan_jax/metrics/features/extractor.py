"""Networks that turn images into features, and images read through them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ...parallel import AXIS, make_mesh
from ...types import PyTree


class Extracted(NamedTuple):
    """What a network makes of a batch.

    Attributes:
        features: `[B, D]` float32.
        logits: `[B, K]` float32, before the softmax; None where the network has none.
    """

    features: jax.Array
    logits: jax.Array | None


@dataclass(frozen=True, eq=False)
class Extractor:
    """A frozen network from images to features.

    Attributes:
        name: such as "inception_v3".
        weights: the first 16 hexadecimal digits of the SHA-256 of the file of weights.
        resize: how images are brought to the network's size, in words.
        size: the number D of features.
        params: a pytree of NumPy arrays.
        apply: `(params, images) -> Extracted`, pure, of uint8 images `[B, H, W, C]` with C = 1 or 3.
        notes: sentences that a reader of a number by these features needs.
    """

    name: str
    weights: str
    resize: str
    size: int
    params: PyTree
    apply: Callable[[PyTree, jax.Array], Extracted]
    notes: tuple[str, ...] = ()


def extract(
    extractor: Extractor, batches: Iterable[np.ndarray], *, batch: int = 64, devices: Sequence[Any] | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Features of all images, in their order. However they come, the network reads `batch` at a time.

    Args:
        extractor: the network.
        batches: uint8 images `[n, H, W, C]`, of any n, all of one size.
        batch: images at a time, rounded up to a multiple of the number of devices, which share them.
        devices: None: those of this process.

    Returns:
        features `[N, D]` float32, and logits `[N, K]` float32 or None.

    Raises:
        ValueError: something else than uint8 images of one size, or none at all.
    """
    mesh = make_mesh(jax.local_devices() if devices is None else devices)
    if batch < 1:
        raise ValueError(f"images are read 1 or more at a time, not batch={batch}")
    batch = -(-batch // mesh.size) * mesh.size
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))
    params = jax.device_put(extractor.params, whole)
    apply = jax.jit(extractor.apply)  # one function has one cache: a later call compiles nothing
    # With several CPU devices programs must not queue up; elsewhere the next batch is prepared meanwhile.
    ahead = 0 if mesh.devices.flat[0].platform == "cpu" else 1
    pending: deque[tuple[Extracted, int]] = deque()
    done: list[Extracted] = []
    for images in _rebatch(batches, batch):
        padding = [(0, batch - len(images)), (0, 0), (0, 0), (0, 0)]
        pending.append((apply(params, jax.device_put(np.pad(images, padding), split)), len(images)))
        if len(pending) > ahead:
            done.append(_fetch(*pending.popleft()))
    done += [_fetch(*entry) for entry in pending]
    if not done:
        raise ValueError("there are no images to extract features of")
    logits = [part.logits for part in done if part.logits is not None]
    return np.concatenate([part.features for part in done]), np.concatenate(logits) if logits else None


def _fetch(extracted: Extracted, count: int) -> Extracted:
    """Host copies without the padding."""
    return jax.tree.map(lambda x: np.asarray(x)[:count], extracted)


def _rebatch(batches: Iterable[np.ndarray], batch: int) -> Iterator[np.ndarray]:
    """The same images, `batch` at a time and the rest at the end."""
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
            f"features are extracted from uint8 images [n, H, W, 1 or 3], not {images.dtype} {list(images.shape)}"
        )
    if shape not in (None, images.shape[1:]):
        raise ValueError(f"images of one size are read together, but {images.shape[1:]} comes after {shape}")
