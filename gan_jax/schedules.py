"""Quantities that change over a run, as functions of images seen (step times global batch), never of `steps`.

Counting in images keeps a recipe the same when the batch size changes. None of these knows how long the run
will be, so a run of 300 steps continued to 600 equals a run of 600.
"""

import jax.numpy as jnp
import optax

from .types import Schedule


def constant(value: float) -> Schedule:
    """The same value always."""
    return lambda images: jnp.asarray(value, jnp.float32)


def linear(start: float, end: float, images: float, delay: float = 0.0) -> Schedule:
    """From `start` to `end` in a straight line over `images` images, after `delay` images at `start`."""
    return lambda seen: start + (end - start) * jnp.clip((seen - delay) / images, 0.0, 1.0)


def cosine(start: float, end: float, images: float) -> Schedule:
    """From `start` to `end` along half a cosine over `images` images, then `end` (as R3GAN's schedules)."""
    return lambda seen: end + (start - end) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(seen / images, 0.0, 1.0)))


def half_life(images: float | Schedule, ramp_up: float | None = None) -> Schedule:
    """The half-life of an exponential moving average, in images: a number, or itself a schedule.

    With `ramp_up` it is at most that share of the images seen so far, so that a young average isn't held back
    by the initial weights: `min(images, ramp_up * seen)`. Karras et al., StyleGAN2-ADA, 2020 (`ramp_up=0.05`).
    """
    own = images if callable(images) else constant(images)
    if ramp_up is None:
        return own
    return lambda seen: jnp.minimum(own(seen), ramp_up * seen)


def decay(half_life_images: jnp.ndarray, batch: int) -> jnp.ndarray:
    """The share of the old average that one step of `batch` images keeps: `0.5 ** (batch / half_life)`."""
    return 0.5 ** (batch / jnp.maximum(half_life_images, 1e-8))


def per_update(schedule: Schedule, images_per_update: float) -> optax.Schedule:
    """`schedule` for an Optax optimizer, which counts its own updates: count times `images_per_update`."""
    return lambda count: schedule(count * images_per_update)  # type: ignore[operator, return-value]
