"""A small GAN of plain functions, which a test can differentiate by itself."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

import gan_jax

LATENT, WIDTH, SHAPE = 3, 5, (2, 2, 1)


def draw(key: Any, *shapes: tuple[int, ...]) -> dict[str, jax.Array]:
    names = ("kernel", "bias", "out")
    keys = jax.random.split(key, len(shapes))
    return {name: 0.5 * jax.random.normal(k, shape) for name, k, shape in zip(names, keys, shapes)}


def generate(params: dict, latents: jax.Array) -> jax.Array:
    hidden = jnp.tanh(latents @ params["kernel"] + params["bias"][None])
    return jnp.tanh(hidden @ params["out"]).reshape(-1, *SHAPE)


def discriminate(params: dict, image: jax.Array) -> jax.Array:
    hidden = jnp.tanh(image.reshape(-1, 4) @ params["kernel"] + params["bias"][None])
    return hidden @ params["out"]


class Generator:
    """Counts its calls: under `jit`, how often it is traced into the program."""

    calls = 0

    def init(self, key: Any, latents: jax.Array) -> dict:
        return {"params": draw(key, (LATENT, WIDTH), (WIDTH,), (WIDTH, 4))}

    def apply(self, variables: Any, latents: jax.Array) -> jax.Array:
        self.calls += 1
        return generate(variables["params"], latents)


class Discriminator:
    def init(self, key: Any, image: jax.Array) -> dict:
        return {"params": draw(key, (4, WIDTH), (WIDTH,), (WIDTH,))}

    def apply(self, variables: Any, image: jax.Array) -> jax.Array:
        return discriminate(variables["params"], image)


DEFAULTS = {
    "generator": Generator(),
    "discriminator": Discriminator(),
    "loss": gan_jax.losses.non_saturating(),
    "generator_tx": gan_jax.optimizers.sgd(0.2),
    "discriminator_tx": gan_jax.optimizers.sgd(0.3),
    "latent": gan_jax.latents.normal(LATENT),
    "augment": gan_jax.augment.identity(),
    "ema": gan_jax.schedules.half_life(100.0, ramp_up=0.05),
}


def make(**keywords: Any) -> gan_jax.GAN:
    """Returns the GAN with plain SGD; `keywords` replace any part of it."""
    return gan_jax.GAN(**{**DEFAULTS, **keywords})


@functools.cache
def compiled(gan: gan_jax.GAN) -> gan_jax.Step:
    """Returns the GAN's step, compiled once for all tests that use it."""
    return gan_jax.jit_step(gan_jax.make_train_step(gan))


def batches(*rows: int, seed: int = 7, label: bool = False) -> dict[str, jax.Array]:
    """Returns a batch with the leading axes `rows` and images in [-1, 1]."""
    for_image, for_label = jax.random.split(jax.random.key(seed))
    batch = {"image": jax.random.uniform(for_image, (*rows, *SHAPE), minval=-1.0, maxval=1.0)}
    return batch | ({"label": jax.random.randint(for_label, rows, 0, 3)} if label else {})


def train(gan: gan_jax.GAN, batch: Any, steps: int = 1, state: Any = None) -> tuple[gan_jax.GANState, list[dict]]:
    """Trains `steps` steps on one batch; returns the state and the metrics of each step."""
    if state is None:
        state = gan_jax.init(gan, jax.random.key(0), batch)
    step = compiled(gan)
    history = []
    for _ in range(steps):
        state, metrics = step(state, batch)
        history.append(jax.device_get(metrics))
    return state, history
