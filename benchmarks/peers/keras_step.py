"""One training step as Keras users write it: a `keras.Model` with its own `train_step`, on Keras' JAX backend.

Keras' own layers, losses and Adam, a gradient for each player, samples normalised on the host, `fit` around it.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from ..cases import LATENT, Case

if "keras" not in sys.modules:
    os.environ["KERAS_BACKEND"] = "jax"  # read once, when Keras is imported

import keras
from keras import layers


def mlp(case: Case) -> tuple[keras.Sequential, keras.Sequential]:
    """`gan_jax.models.mlp`, layers named as there."""

    def hidden() -> list[Any]:
        pairs = ((layers.Dense(512, name=f"dense_{i}"), layers.LeakyReLU(0.2)) for i in range(3))
        return [layer for pair in pairs for layer in pair]

    size = int(np.prod(case.shape))
    out = [layers.Dense(size, activation="tanh", name="out"), layers.Reshape(case.shape)]
    generator = keras.Sequential([keras.Input((LATENT,)), *hidden(), *out])
    last = layers.Dense(1, name="out")
    return generator, keras.Sequential([keras.Input(case.shape), layers.Flatten(), *hidden(), last])


def dcgan(case: Case, width: int = 64) -> tuple[keras.Sequential, keras.Sequential]:
    """`gan_jax.models.dcgan`, layers named as there."""
    times = (case.shape[0] // 4).bit_length() - 1
    widths = [width * 2**i for i in range(times)]
    common: dict[str, Any] = {"strides": 2, "padding": "same", "use_bias": False}

    def norm(i: int) -> Any:
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"norm_{i}")

    up: list[Any] = [
        layers.Dense(16 * widths[-1], use_bias=False, name="project"), layers.Reshape((4, 4, widths[-1])),
        norm(0), layers.ReLU(),
    ]  # fmt: skip
    for i, features in enumerate(widths[-2::-1], 1):
        up += [layers.Conv2DTranspose(features, 4, **common, name=f"up_{i}"), norm(i), layers.ReLU()]
    up.append(layers.Conv2DTranspose(case.shape[2], 4, **common, activation="tanh", name="image"))
    down: list[Any] = []
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
    """Both players; `fit` gives it batches `(images,)`, or `(images, latents)`."""

    def __init__(self, generator: keras.Sequential, discriminator: keras.Sequential):
        super().__init__()
        self.generator: Any = generator
        self.discriminator: Any = discriminator
        self.seed = keras.random.SeedGenerator(0)
        self.built = True  # there is no one output to build it for
        self.cross_entropy: Any = keras.losses.BinaryCrossentropy(from_logits=True)

    def compile(self, for_generator: Any, for_discriminator: Any) -> None:
        # `fit` carries the variables of one optimizer; the other's are carried as the model's own.
        for_generator.build(self.generator.trainable_variables)
        for_discriminator.build(self.discriminator.trainable_variables)
        super().compile(optimizer=for_generator)
        self.for_discriminator = for_discriminator
        self.moments = list(for_discriminator.variables)

    def train_step(self, state: Any, data: Any) -> Any:
        trainable, rest, g_opt, metrics = state
        count, real = len(self.generator.trainable_variables), data[0]
        g, d = trainable[:count], trainable[count:]
        place = {id(variable): i for i, variable in enumerate(self.non_trainable_variables)}
        g_rest, d_rest, d_opt = (
            [rest[place[id(v)]] for v in variables]
            for variables in (
                self.generator.non_trainable_variables,
                self.discriminator.non_trainable_variables,
                self.moments,
            )
        )
        noise = self.seed.state
        with keras.StatelessScope([(noise, rest[place[id(noise)]])]) as scope:
            z = data[1] if len(data) > 1 else keras.random.normal((real.shape[0], LATENT), seed=self.seed)
        after = {id(noise): scope.get_current_value(noise)}
        fake, _ = self.generator.stateless_call(g, g_rest, z, training=True)

        def by_discriminator(d: Any) -> Any:
            on_real, then = self.discriminator.stateless_call(d, d_rest, real, training=True)
            on_fake, then = self.discriminator.stateless_call(d, then, fake, training=True)
            ones, zeros = keras.ops.ones_like(on_real), keras.ops.zeros_like(on_fake)
            return self.cross_entropy(ones, on_real) + self.cross_entropy(zeros, on_fake), then

        (d_loss, d_rest), grads = jax.value_and_grad(by_discriminator, has_aux=True)(d)
        d, d_opt = self.for_discriminator.stateless_apply(d_opt, grads, d)

        def by_generator(g: Any) -> Any:
            fake, then = self.generator.stateless_call(g, g_rest, z, training=True)
            on_fake, _ = self.discriminator.stateless_call(d, d_rest, fake, training=True)
            return self.cross_entropy(keras.ops.ones_like(on_fake), on_fake), then

        (g_loss, g_rest), grads = jax.value_and_grad(by_generator, has_aux=True)(g)
        g, g_opt = self.optimizer.stateless_apply(g_opt, grads, g)
        for variables, values in (
            (self.generator.non_trainable_variables, g_rest),
            (self.discriminator.non_trainable_variables, d_rest),
            (self.moments, d_opt),
        ):
            after |= {id(v): value for v, value in zip(variables, values)}
        rest = [after[id(v)] for v in self.non_trainable_variables]
        return {"d_loss": d_loss, "g_loss": g_loss}, ([*g, *d], rest, g_opt, metrics)


def make(case: Case, params: tuple[Any, Any], sgd: float | None = None) -> tuple[Callable[..., Any], Gan]:
    """`steps(n, uint8 images, latents) -> losses of the last`, from the given JAX parameters, and the model.

    By plain SGD at the rate `sgd` where that is given; with latents of its own where none are.

    Raises:
        RuntimeError: Keras was imported with another backend.
        ValueError: parameters differ in number or size.
    """
    if keras.backend.backend() != "jax":
        raise RuntimeError(f"Keras was imported with the backend {keras.backend.backend()}, not jax")
    networks = NETWORKS[case.name](case)
    for network, own in zip(networks, params):
        _copy(network, own)

    def optimizer() -> Any:
        if sgd is not None:
            return keras.optimizers.SGD(sgd)
        return keras.optimizers.Adam(case.learning_rate, beta_1=case.b1, beta_2=case.b2, epsilon=1e-8)

    model = Gan(*networks)
    model.compile(optimizer(), optimizer())

    def steps(n: int, images: np.ndarray, *latents: np.ndarray) -> tuple[float, float]:
        def batches() -> Iterator[tuple[np.ndarray, ...]]:
            while True:
                yield images.astype(np.float32) / 127.5 - 1, *latents

        quiet: Any = 0
        history = model.fit(batches(), steps_per_epoch=n, shuffle=False, verbose=quiet).history
        jax.block_until_ready([v.value for v in model.variables])
        return history["d_loss"][-1], history["g_loss"][-1]

    return steps, model


def _variable(network: keras.Sequential, path: tuple[str, ...]) -> tuple[Any, bool]:
    """The variable at a path of JAX's parameters, and whether its last two axes are the other way round."""
    layer: Any = network.get_layer(path[0])
    norm = isinstance(layer, layers.BatchNormalization)
    variable = getattr(layer, {"scale": "gamma", "bias": "beta"}[path[-1]] if norm else path[-1])
    return variable, isinstance(layer, layers.Conv2DTranspose)


def _walk(function: Callable[..., Any], tree: Any, path: tuple[str, ...] = ()) -> Any:
    if isinstance(tree, Mapping):
        return {name: _walk(function, value, (*path, name)) for name, value in tree.items()}
    return function(path, tree)


def _copy(network: keras.Sequential, params: Any) -> None:
    def put(path: tuple[str, ...], leaf: Any) -> None:
        variable, swapped = _variable(network, path)
        value = np.swapaxes(leaf, -1, -2) if swapped else np.asarray(leaf)
        if tuple(variable.shape) != value.shape:
            raise ValueError(f"{'/'.join(path)} is {tuple(variable.shape)} in Keras, {value.shape} in JAX")
        variable.assign(value)

    _walk(put, params)
    theirs, ours = len(network.trainable_variables), len(jax.tree.leaves(params))
    if theirs != ours:
        raise ValueError(f"{theirs} parameters in Keras, {ours} in JAX")


def read_back(network: keras.Sequential, like: Any) -> Any:
    """The network's parameters as a JAX tree shaped as `like`."""

    def get(path: tuple[str, ...], _: Any) -> np.ndarray:
        variable, swapped = _variable(network, path)
        value = np.array(variable.value)
        return np.swapaxes(value, -1, -2) if swapped else value

    return _walk(get, like)
