"""The training of the classifier on labelled images."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from ...data.source import Source
from ...errors import UserError
from ...types import PyTree
from .classifier_network import Network, class_logits, initial_params
from .efficientnet_lite0 import way_out

_CHUNK = 1000  # images that are read or classified at a time


@dataclass(frozen=True)
class Settings:
    """Settings of a classifier.

    Attributes:
        width: channels of the first map; see `Network`.
        size: features, the units of the hidden layer.
        batch: images per step.
        epochs: passes over the training images; 0 chooses between 12 for a small set and 4 for a large one.
        rate: Adam's peak learning rate. It rises over the first tenth of the steps, then falls to 0, as a cosine.
        held_out: the share of the images that measures the accuracy; they are not trained on.
        limit: the largest number of images, a random choice of the set.
        seed: of the weights, of the choice of images and of their order.
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
                raise ValueError(f"the classifier's {name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.held_out < 1 or self.rate <= 0 or self.epochs < 0:
            raise ValueError(
                "the classifier's held_out must be in (0, 1), its rate above 0 and its epochs at least 0, got "
                f"{self.held_out}, {self.rate} and {self.epochs}"
            )


def train(source: Source, settings: Settings) -> dict[str, np.ndarray]:
    """Trains a classifier of the source's classes.

    Returns:
        the parameters by path, `params/...`; `accuracy`, the share of the held-out images that are classified
        correctly; and `held_out`, their number.

    Raises:
        UserError: there are fewer images than one batch.
    """
    count = check_count(source, settings)
    images, labels = _read(source, settings)
    held_out = len(images) - count
    epochs = settings.epochs or min(max(60_000 // count, 4), 12)
    steps = epochs * (count // settings.batch)
    network = Network(source.classes or 0, settings.width, settings.size)
    tx = optax.adam(optax.cosine_onecycle_schedule(steps, settings.rate, pct_start=0.1))

    def loss(params: PyTree, image: jax.Array, label: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(class_logits(network, params, image), label).mean()

    @jax.jit
    def step(
        params: PyTree, state: optax.OptState, image: jax.Array, label: jax.Array
    ) -> tuple[PyTree, optax.OptState]:
        updates, state = tx.update(jax.grad(loss)(params, image, label), state, params)
        return optax.apply_updates(params, updates), state

    with jax.default_matmul_precision("highest"):
        params = initial_params(network, settings.seed, images[:1])
        state = jax.jit(tx.init)(params)
        for rows in _batches(count, settings, epochs):
            params, state = step(params, state, images[held_out:][rows], labels[held_out:][rows])
        accuracy = _accuracy(network, params, images[:held_out], labels[:held_out])
    arrays = {f"params/{path}": np.asarray(array) for path, array in flatten_dict(params, sep="/").items()}
    return arrays | {"accuracy": np.asarray(accuracy), "held_out": np.asarray(held_out)}


def check_count(source: Source, settings: Settings) -> int:
    """Returns the number of images to train on, which is that of all but the held-out ones.

    Raises:
        UserError: they are fewer than one batch.
    """
    total = min(len(source), settings.limit)
    count = total - max(round(total * settings.held_out), 1)
    if count < settings.batch:
        raise UserError(
            f"'{source.fingerprint()}' has {total} images, too few to train a classifier in batches of "
            f"{settings.batch}: {way_out()}"
        )
    return count


def _read(source: Source, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels in a random order."""
    order = np.asarray(jax.random.permutation(jax.random.key(settings.seed), len(source)))[: settings.limit]
    chunks = [source.read(order[start : start + _CHUNK]) for start in range(0, len(order), _CHUNK)]
    return np.concatenate([c["image"] for c in chunks]), np.concatenate([c["label"] for c in chunks])


def _batches(count: int, settings: Settings, epochs: int) -> Iterator[np.ndarray]:
    """Yields row numbers `[batch]`: a permutation for each epoch, without its incomplete last batch."""
    for epoch in range(epochs):
        key = jax.random.fold_in(jax.random.key(settings.seed + 1), epoch)
        order = np.asarray(jax.random.permutation(key, count))
        for start in range(0, count - settings.batch + 1, settings.batch):
            yield order[start : start + settings.batch]


def _accuracy(network: Network, params: PyTree, images: np.ndarray, labels: np.ndarray) -> np.floating:
    classify = jax.jit(lambda params, images: class_logits(network, params, images).argmax(axis=1))
    starts = range(0, len(images), _CHUNK)
    found = np.concatenate([np.asarray(classify(params, images[i : i + _CHUNK])) for i in starts])
    return (found == labels).mean()
