"""A small classifier of the data's own classes: features and logits for data that Inception doesn't know.

It is trained once on the labelled data, and kept in the user's cache folder. Numbers can only be compared if they
were measured with the same weights, so a record holds the hash of the weights.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from ...data.source import Source
from ...errors import UserError
from ...types import PyTree
from .cache import cached_arrays
from .classifier_network import Network, extract_features
from .classifier_training import Settings, check_count, train
from .efficientnet_lite0 import way_out
from .extractor import Extracted, Extractor

_FORMAT = 2  # raised by every change of the network or its training


@dataclass(frozen=True, eq=False, kw_only=True)
class Classifier(Extractor):
    """An extractor whose logits are those of the data's classes.

    Attributes:
        classes: the number K of classes.
        shape: of its input images, (H, W, C).
        accuracy: the share of the held-out images that are classified correctly.
        held_out: the number of held-out images.
        trained_on: fingerprint of the data.
    """

    classes: int
    shape: tuple[int, ...]
    accuracy: float
    held_out: int
    trained_on: str


def classifier(
    source: Source,
    width: int = Settings.width,
    size: int = Settings.size,
    batch: int = Settings.batch,
    epochs: int = Settings.epochs,
    rate: float = Settings.rate,
    held_out: float = Settings.held_out,
    limit: int = Settings.limit,
    seed: int = Settings.seed,
) -> Classifier:
    """Returns a classifier of the source's classes: from the cache, or else trained on the source.

    On one CPU the same source and settings give the same weights, bit for bit.

    Args:
        source: labelled uint8 images with sides of 8 to 64 pixels, grey or colour.
        width, size, batch, epochs, rate, held_out, limit, seed: see `Settings`.

    Raises:
        UserError: the source has no labels, has other samples than such images, or has too few.
        ValueError: a setting is out of range.
    """
    settings = Settings(width, size, batch, epochs, rate, held_out, limit, seed)
    check_source(source)
    check_count(source, settings)
    classes = source.classes or 0
    key = {
        "kind": "classifier",
        "classifier": _FORMAT,
        "data": source.fingerprint(),
        "shape": list(source.shape),
        "classes": classes,
        "settings": asdict(settings),
    }
    arrays = cached_arrays(key, lambda: train(source, settings))
    params = unflatten_dict({name: array for name, array in arrays.items() if "/" in name}, sep="/")["params"]
    network = Network(classes, settings.width, settings.size)
    shape = tuple(source.shape)

    def apply(params: PyTree, images: jax.Array) -> Extracted:
        if images.shape[1:] != shape:
            raise ValueError(f"this classifier reads images of shape {shape}, got {tuple(images.shape[1:])}")
        with jax.default_matmul_precision("highest"):
            return extract_features(network, params, images)

    accuracy, count = float(arrays["accuracy"]), int(arrays["held_out"])
    return Classifier(
        name="classifier",
        weights=_hash(params),
        resize="none",
        size=settings.size,
        params=params,
        apply=apply,
        classes=classes,
        shape=shape,
        accuracy=accuracy,
        held_out=count,
        trained_on=source.fingerprint(),
        # The text enters `protocol` of a run: other words would make a resumed run forget its best checkpoint.
        notes=(f"classifier of the data's classes, accuracy {accuracy:.4f} on {count} held out",),
    )


def stacked(extractor: Classifier) -> Extractor:
    """Returns an extractor for stacked images: three grey images, one in each channel, with K^3 classes.

    The label of classes a, b and c in the three channels is `(a K + b) K + c`; for digits it is 100 a + 10 b + c.
    The features of the channels are concatenated, `[B, 3 D]`. The logits are sums of the channels' log
    probabilities, `[B, K^3]`.

    Raises:
        ValueError: the classifier is not one of grey images.
    """
    if extractor.shape[-1] != 1:
        raise ValueError("stacked images need a classifier of grey images: train it on the single images")

    def apply(params: PyTree, images: jax.Array) -> Extracted:
        if images.shape[-1] != 3:
            raise ValueError(f"stacked images have three channels, got {images.shape[-1]}")
        parts = [extractor.apply(params, images[..., i : i + 1]) for i in range(3)]
        a, b, c = (jax.nn.log_softmax(part.logits) for part in parts)  # pyright: ignore[reportArgumentType]
        logits = a[:, :, None, None] + b[:, None, :, None] + c[:, None, None, :]
        return Extracted(
            jnp.concatenate([part.features for part in parts], axis=1), logits.reshape(len(images), -1)
        )

    return Extractor(
        f"stacked {extractor.name}", extractor.weights, "none", 3 * extractor.size, extractor.params, apply,
        extractor.notes,
    )  # fmt: skip


def check_source(source: Source) -> None:
    """Raises UserError if no classifier can be trained on this data."""
    name = source.fingerprint()
    if source.classes is None:
        raise UserError(f"a classifier needs labels, and '{name}' has none: {way_out()}")
    if len(source.shape) != 3 or source.dtype != np.uint8 or not all(8 <= s <= 64 for s in source.shape[:2]):
        raise UserError(
            f"a classifier needs uint8 images with sides of 8 to 64 pixels, but the samples of '{name}' are "
            f"{np.dtype(source.dtype)} of shape {tuple(source.shape)}: {way_out()}"
        )


def _hash(params: Mapping[str, PyTree]) -> str:
    """Returns the first 16 hexadecimal digits of the SHA-256 of names, shapes and values, sorted by name."""
    sha256 = hashlib.sha256()
    for name, array in sorted(flatten_dict(params, sep="/").items()):
        sha256.update(json.dumps([name, list(array.shape), str(array.dtype)]).encode())
        sha256.update(np.ascontiguousarray(array).tobytes())
    return sha256.hexdigest()[:16]
