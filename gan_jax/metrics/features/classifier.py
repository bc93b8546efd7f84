"""A small classifier of the data's own classes: features and labels for sets that Inception knows nothing of.

It is trained once, on the labelled data itself, and kept in the user's cache folder. Its numbers are comparable
with those of the same weights alone, which is why a record holds their hash.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from ...data.source import Source
from ...errors import UserError
from ...ops import conv
from ...types import PyTree
from .cache import cached_arrays
from .extractor import Extracted, Extractor

_FORMAT = 2  # a change of the network or its training raises it
_READ = 1000  # images read at a time


@dataclass(frozen=True)
class Settings:
    """How a classifier is made.

    Attributes:
        width: channels of the first map; then twice and four times as many.
        size: features, the rectified layer before the logits.
        batch: images a step.
        epochs: passes over the training images; 0: from 12 for a small set to 4 for a large one.
        rate: Adam's peak learning rate; a cosine takes it up over the first tenth, then down to 0.
        held_out: share of the images that it isn't trained on, to measure its accuracy.
        limit: images at most that are read, a random choice.
        seed: of the weights, the images held out and their order.
    """

    width: int = 32
    size: int = 128
    batch: int = 64
    epochs: int = 0
    rate: float = 2e-3
    held_out: float = 0.1
    limit: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "size", "batch", "limit"):
            if getattr(self, name) < 1:
                raise ValueError(f"a classifier's {name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.held_out < 1 or self.rate <= 0 or self.epochs < 0:
            raise ValueError(
                "a classifier's held_out must be in (0, 1), its rate above 0 and its epochs at least 0, got "
                f"{self.held_out}, {self.rate} and {self.epochs}"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class Classifier(Extractor):
    """An extractor that names the data's classes.

    Attributes:
        classes: K of its logits.
        shape: of the images it reads, (H, W, C).
        accuracy: share of the held-out images that it names rightly.
        held_out: how many those were.
        trained_on: fingerprint of the data.
    """

    classes: int
    shape: tuple[int, ...]
    accuracy: float
    held_out: int
    trained_on: str


class _Network(nn.Module):
    """Strided 3 x 3 convolutions down to a map of about 4 x 4, a rectified layer, and the logits."""

    classes: int
    width: int
    size: int

    @nn.compact
    def __call__(self, images: jax.Array) -> Extracted:
        x = jnp.asarray(images, jnp.float32) / 127.5 - 1.0
        i = 0
        while i < 3 or max(x.shape[1:3]) > 4:
            features = self.width * 2 ** min(i, 2)
            stride = 2 if max(x.shape[1:3]) > 4 else 1
            shape = (3, 3, x.shape[-1], features)
            kernel = self.param(f"kernel_{i}", nn.initializers.he_normal(), shape)  # `_start` draws them
            bias = self.param(f"bias_{i}", nn.initializers.zeros, (features,))
            x = nn.relu(conv(x, kernel, stride=stride, padding=1) + bias)
            i += 1
        hidden = nn.relu(nn.Dense(self.size, name="features")(x.reshape(x.shape[0], -1)))
        return Extracted(hidden, nn.Dense(self.classes, name="logits")(hidden))


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
    """A classifier of the source's classes, trained on it unless the cache has it already.

    On one CPU the same source and settings give the same weights, bit for bit.

    Args:
        source: labelled uint8 images, 8 to 64 pixels a side, grey or in colour.
        width, size, batch, epochs, rate, held_out, limit, seed: see `Settings`.

    Raises:
        UserError: the source has no labels, is of vectors or other sizes, or is too small to hold some out.
        ValueError: settings that can't be.
    """
    settings = Settings(width, size, batch, epochs, rate, held_out, limit, seed)
    check_source(source)
    classes = source.classes or 0
    key = {
        "kind": "classifier",
        "classifier": _FORMAT,
        "data": source.fingerprint(),
        "shape": list(source.shape),
        "classes": classes,
        "settings": asdict(settings),
    }
    arrays = cached_arrays(key, lambda: _train(source, settings))
    params = unflatten_dict({name: array for name, array in arrays.items() if "/" in name}, sep="/")["params"]
    network = _Network(classes, settings.width, settings.size)
    shape = tuple(source.shape)

    def apply(params: PyTree, images: jax.Array) -> Extracted:
        if images.shape[1:] != shape:
            raise ValueError(f"this classifier reads images of {shape}, not {tuple(images.shape[1:])}")
        with jax.default_matmul_precision("highest"):
            return network.apply({"params": params}, images)  # pyright: ignore[reportReturnType]

    accuracy, held = float(arrays["accuracy"]), int(arrays["held_out"])
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
        held_out=held,
        trained_on=source.fingerprint(),
        notes=(f"classifier of the data's classes, accuracy {accuracy:.4f} on {held} held out",),
    )


def stacked(extractor: Classifier) -> Extractor:
    """A grey classifier for three grey images in three channels: K^3 classes, `label = (a K + b) K + c`.

    Features are the channels', one after another, `[B, 3 D]`; the logits are the sums of their log
    probabilities, `[B, K^3]`. With digits the label is the number that the channels show: 100 a + 10 b + c.

    Raises:
        ValueError: the classifier is not of grey images.
    """
    _check_grey(extractor)

    def apply(params: PyTree, images: jax.Array) -> Extracted:
        if images.shape[-1] != 3:
            raise ValueError(f"stacked images have three channels, not {images.shape[-1]}")
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
    """Raises UserError where no classifier can be of this data."""
    name = source.fingerprint()
    if source.classes is None:
        raise UserError(f"a classifier needs labels, and '{name}' has none: use another extractor")
    if len(source.shape) != 3 or source.dtype != np.uint8 or not all(8 <= s <= 64 for s in source.shape[:2]):
        raise UserError(
            f"a classifier reads images of 8 to 64 pixels a side, and those of '{name}' are {tuple(source.shape)} "
            f"{np.dtype(source.dtype)}: use size=32, or another extractor"
        )


def _check_grey(extractor: Classifier) -> None:
    if extractor.shape[-1] != 1:
        raise ValueError("stacked images need a classifier of grey ones: train it on the unstacked set")


def _hash(params: Mapping[str, Any]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of names, shapes and values, in order of the names."""
    total = hashlib.sha256()
    for name, array in sorted(flatten_dict(params, sep="/").items()):
        total.update(json.dumps([name, list(array.shape), str(array.dtype)]).encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]


def _read(source: Source, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels in an order of the seed's."""
    order = np.asarray(jax.random.permutation(jax.random.key(settings.seed), len(source)))[: settings.limit]
    parts = [source.read(order[start : start + _READ]) for start in range(0, len(order), _READ)]
    return np.concatenate([p["image"] for p in parts]), np.concatenate([p["label"] for p in parts])


def _batches(count: int, settings: Settings, epochs: int) -> Iterator[np.ndarray]:
    """Row numbers `[batch]`: a permutation an epoch, without what is left over."""
    for epoch in range(epochs):
        key = jax.random.fold_in(jax.random.key(settings.seed + 1), epoch)
        order = np.asarray(jax.random.permutation(key, count))
        for start in range(0, count - settings.batch + 1, settings.batch):
            yield order[start : start + settings.batch]


def _start(network: _Network, seed: int, image: np.ndarray) -> PyTree:
    """He's normal kernels and zero biases.

    NumPy draws them: JAX would compile a generator of random bits for every shape, longer than a small set trains.
    """
    shapes = jax.eval_shape(network.init, jax.random.key(seed), image)["params"]
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) == 1:
            return np.zeros(shape, np.float32)
        return (rng.standard_normal(shape) * (2 / np.prod(shape[:-1])) ** 0.5).astype(np.float32)

    drawn = {path: draw(leaf.shape) for path, leaf in sorted(flatten_dict(shapes, sep="/").items())}
    return unflatten_dict(drawn, sep="/")


def _train(source: Source, settings: Settings) -> dict[str, np.ndarray]:
    """Trained parameters by path, `params/...`, with `accuracy` and `held_out`."""
    images, labels = _read(source, settings)
    held = max(round(len(images) * settings.held_out), 1)
    count = len(images) - held
    if count < settings.batch:
        raise UserError(
            f"'{source.fingerprint()}' has {len(images)} images, too few to train a classifier in batches of "
            f"{settings.batch}"
        )
    epochs = settings.epochs or min(max(60_000 // count, 4), 12)
    steps = epochs * (count // settings.batch)
    network = _Network(source.classes or 0, settings.width, settings.size)
    tx = optax.adam(optax.cosine_onecycle_schedule(steps, settings.rate, pct_start=0.1))

    def loss(params: Any, image: jax.Array, label: jax.Array) -> jax.Array:
        logits = network.apply({"params": params}, image).logits  # pyright: ignore[reportAttributeAccessIssue]
        return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

    @jax.jit
    def step(params: Any, state: Any, image: jax.Array, label: jax.Array) -> tuple[Any, Any]:
        updates, state = tx.update(jax.grad(loss)(params, image, label), state, params)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def name(params: Any, image: jax.Array) -> jax.Array:
        return network.apply({"params": params}, image).logits.argmax(axis=1)  # pyright: ignore

    with jax.default_matmul_precision("highest"):
        params = _start(network, settings.seed, images[:1])
        state = jax.jit(tx.init)(params)
        for rows in _batches(count, settings, epochs):
            params, state = step(params, state, images[held:][rows], labels[held:][rows])
        right = [
            np.asarray(name(params, images[i : i + _READ])) == labels[i : i + _READ]
            for i in range(0, held - held % _READ, _READ)
        ]
        rest = held - held % _READ
        right += [np.asarray(name(params, images[rest:held])) == labels[rest:held]] if rest < held else []
    arrays = {f"params/{path}": np.asarray(array) for path, array in flatten_dict(params, sep="/").items()}
    return arrays | {"accuracy": np.asarray(np.concatenate(right).mean()), "held_out": np.asarray(held)}
