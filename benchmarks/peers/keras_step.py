"""A training step as Keras users write it: a `keras.Model` with its own `train_step`, on Keras' JAX backend.

It uses Keras' layers, losses and Adam, one gradient per player, images normalised on the host, and `fit`.
"""

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from gan_jax.pytree import named_leaves
from gan_jax.types import PyTree

from ..cases import LATENT, Case

if "keras" not in sys.modules:
    os.environ["KERAS_BACKEND"] = "jax"  # Keras reads it only when it is imported

import keras
from keras import layers


def mlp(case: Case) -> tuple[keras.Sequential, keras.Sequential]:
    """Builds both networks of `gan_jax.models.mlp`, with the same layer names."""

    def hidden() -> list[layers.Layer]:
        pairs = ((layers.Dense(512, name=f"dense_{i}"), layers.LeakyReLU(0.2)) for i in range(3))
        return [layer for pair in pairs for layer in pair]

    size = int(np.prod(case.shape))
    out = [layers.Dense(size, activation="tanh", name="out"), layers.Reshape(case.shape)]
    generator = keras.Sequential([keras.Input((LATENT,)), *hidden(), *out])
    logit = layers.Dense(1, name="out")
    return generator, keras.Sequential([keras.Input(case.shape), layers.Flatten(), *hidden(), logit])


def dcgan(case: Case, width: int = 64) -> tuple[keras.Sequential, keras.Sequential]:
    """Builds both networks of `gan_jax.models.dcgan`, with the same layer names."""
    doublings = (case.shape[0] // 4).bit_length() - 1
    widths = [width * 2**i for i in range(doublings)]
    common: dict[str, Any] = {"strides": 2, "padding": "same", "use_bias": False}

    def norm(i: int) -> layers.Layer:
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"norm_{i}")

    up: list[layers.Layer] = [
        layers.Dense(16 * widths[-1], use_bias=False, name="project"), layers.Reshape((4, 4, widths[-1])),
        norm(0), layers.ReLU(),
    ]  # fmt: skip
    for i, features in enumerate(widths[-2::-1], 1):
        up += [layers.Conv2DTranspose(features, 4, **common, name=f"up_{i}"), norm(i), layers.ReLU()]
    up.append(layers.Conv2DTranspose(case.shape[2], 4, **common, activation="tanh", name="image"))
    down: list[layers.Layer] = []
    for i, features in enumerate(widths):
        down.append(layers.Conv2D(features, 4, **common, name=f"down_{i}"))
        down += [norm(i)] if i else []
        down.append(layers.LeakyReLU(0.2))
    down += [layers.Flatten(), layers.Dense(1, use_bias=False, name="logit")]
    return (
        keras.Sequential([keras.Input((LATENT,)), *up]),
        keras.Sequential([keras.Input(case.shape), *down]),
    )


NETWORKS = {"mlp28": mlp, "dcgan32": dcgan}


class Gan(keras.Model):
    """A GAN of two Keras networks; `fit` gives it batches `(images,)` or `(images, latents)`."""

    def __init__(self, generator: keras.Sequential, discriminator: keras.Sequential):
        super().__init__()
        self.generator: Any = generator
        self.discriminator: Any = discriminator
        self.seed = keras.random.SeedGenerator(0)
        self.built = True  # `fit` needs this; the model has no single output to build it from
        self.cross_entropy: Any = keras.losses.BinaryCrossentropy(from_logits=True)

    def compile(self, generator_optimizer: Any, discriminator_optimizer: Any) -> None:
        # `fit` passes on the variables of one optimizer; those of the other are made variables of the model.
        generator_optimizer.build(self.generator.trainable_variables)
        discriminator_optimizer.build(self.discriminator.trainable_variables)
        super().compile(optimizer=generator_optimizer)
        self.discriminator_optimizer = discriminator_optimizer
        self.moments = list(discriminator_optimizer.variables)

    def train_step(self, state: Any, data: Any) -> Any:
        """Returns the losses and the new state; Keras calls it under jit. The types are those of Keras."""
        trainable, other, g_opt, metrics = state
        count, real = len(self.generator.trainable_variables), data[0]
        g, d = trainable[:count], trainable[count:]
        value = dict(zip(map(id, self.non_trainable_variables), other))
        g_other, d_other, d_opt = (
            [value[id(v)] for v in variables]
            for variables in (
                self.generator.non_trainable_variables,
                self.discriminator.non_trainable_variables,
                self.moments,
            )
        )
        seed = self.seed.state
        with keras.StatelessScope([(seed, value[id(seed)])]) as scope:
            z = data[1] if len(data) > 1 else keras.random.normal((real.shape[0], LATENT), seed=self.seed)
        value[id(seed)] = scope.get_current_value(seed)
        fake, _ = self.generator.stateless_call(g, g_other, z, training=True)

        def discriminator_loss(d: PyTree) -> tuple[jax.Array, PyTree]:
            real_logits, after = self.discriminator.stateless_call(d, d_other, real, training=True)
            fake_logits, after = self.discriminator.stateless_call(d, after, fake, training=True)
            ones, zeros = keras.ops.ones_like(real_logits), keras.ops.zeros_like(fake_logits)
            return self.cross_entropy(ones, real_logits) + self.cross_entropy(zeros, fake_logits), after

        (d_loss, d_other), grads = jax.value_and_grad(discriminator_loss, has_aux=True)(d)
        d, d_opt = self.discriminator_optimizer.stateless_apply(d_opt, grads, d)

        def generator_loss(g: PyTree) -> tuple[jax.Array, PyTree]:
            fake, after = self.generator.stateless_call(g, g_other, z, training=True)
            logits, _ = self.discriminator.stateless_call(d, d_other, fake, training=True)
            return self.cross_entropy(keras.ops.ones_like(logits), logits), after

        (g_loss, g_other), grads = jax.value_and_grad(generator_loss, has_aux=True)(g)
        g, g_opt = self.optimizer.stateless_apply(g_opt, grads, g)
        for variables, values in (
            (self.generator.non_trainable_variables, g_other),
            (self.discriminator.non_trainable_variables, d_other),
            (self.moments, d_opt),
        ):
            value.update(zip(map(id, variables), values))
        other = [value[id(v)] for v in self.non_trainable_variables]
        return {"d_loss": d_loss, "g_loss": g_loss}, ([*g, *d], other, g_opt, metrics)


def make(
    case: Case, params: tuple[PyTree, PyTree], sgd: float | None = None
) -> tuple[Callable[..., tuple[float, float]], Gan]:
    """Builds the case in Keras from JAX parameters; returns `fit` and the model.

    `fit(n, images)` makes n steps on a uint8 batch and returns the losses of the last step, the discriminator's
    first. It draws latents unless they are given as a third argument. With `sgd`, both players use plain SGD at
    that rate instead of Adam.

    Raises:
        RuntimeError: Keras was imported with another backend.
        ValueError: the parameters of the two frameworks differ in number or shape.
    """
    if keras.backend.backend() != "jax":
        raise RuntimeError(f"Keras runs on {keras.backend.backend()}, not on jax: set KERAS_BACKEND=jax")
    networks = NETWORKS[case.name](case)
    for network, network_params in zip(networks, params):
        _copy(network, network_params)

    def optimizer() -> Any:
        if sgd is not None:
            return keras.optimizers.SGD(sgd)
        return keras.optimizers.Adam(case.learning_rate, beta_1=case.b1, beta_2=case.b2, epsilon=1e-8)

    model = Gan(*networks)
    model.compile(optimizer(), optimizer())

    def fit(n: int, images: np.ndarray, *latents: np.ndarray) -> tuple[float, float]:
        def batches() -> Iterator[tuple[np.ndarray, ...]]:
            while True:
                yield images.astype(np.float32) / 127.5 - 1, *latents

        quiet: Any = 0
        history = model.fit(batches(), steps_per_epoch=n, shuffle=False, verbose=quiet).history
        jax.block_until_ready([v.value for v in model.variables])
        return history["d_loss"][-1], history["g_loss"][-1]

    return fit, model


def _variable(network: keras.Sequential, name: str) -> tuple[keras.Variable, bool]:
    """Returns the variable of a JAX leaf "layer/.../leaf", and whether Keras swaps its last two axes."""
    first, *_, leaf = name.split("/")
    layer = network.get_layer(first)
    norm = isinstance(layer, layers.BatchNormalization)
    variable = getattr(layer, {"scale": "gamma", "bias": "beta"}[leaf] if norm else leaf)
    return variable, isinstance(layer, layers.Conv2DTranspose)


def _copy(network: keras.Sequential, params: PyTree) -> None:
    leaves = named_leaves(params)
    for name, leaf in leaves.items():
        variable, swapped = _variable(network, name)
        value = np.swapaxes(leaf, -1, -2) if swapped else np.asarray(leaf)
        if tuple(variable.shape) != value.shape:
            raise ValueError(f"{name} is {tuple(variable.shape)} in Keras, {value.shape} in JAX")
        variable.assign(value)
    count = len(network.trainable_variables)
    if count != len(leaves):
        raise ValueError(f"{count} parameters in Keras, {len(leaves)} in JAX")


def read_back(network: keras.Sequential, like: PyTree) -> PyTree:
    """Returns the network's parameters as a JAX tree with the structure of `like`."""

    def read(name: str) -> np.ndarray:
        variable, swapped = _variable(network, name)
        value = np.array(variable.value)
        return np.swapaxes(value, -1, -2) if swapped else value

    return jax.tree.unflatten(jax.tree.structure(like), map(read, named_leaves(like)))
