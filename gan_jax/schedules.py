"""Quantities that change during a run, as functions of images seen (step times global batch), never of `steps`.

Counting in images keeps a recipe the same when the batch size changes. No schedule knows how long the run will
be, so a run of 300 steps that is continued to 600 equals a run of 600.
"""

import jax
import jax.numpy as jnp
import optax

from .types import Number, Schedule


def constant(value: Number) -> Schedule:
    """Always returns `value`."""
    return lambda images: jnp.asarray(value, jnp.float32)


def linear(start: Number, end: Number, images: Number, delay: Number = 0.0) -> Schedule:
    """Goes from `start` to `end` in a straight line over `images` images, after `delay` images at `start`."""
    return lambda seen: start + (end - start) * jnp.clip((seen - delay) / images, 0.0, 1.0)


def after(images: Number, value: Number = 1.0) -> Schedule:
    """Is 0 until `images` images were seen, and `value` from then on: for a loss that starts late."""
    return lambda seen: jnp.where(seen >= jnp.float32(images), jnp.float32(value), 0.0)


def cosine(start: Number, end: Number, images: Number) -> Schedule:
    """Goes from `start` to `end` along half a cosine over `images` images, then stays (R3GAN's schedules)."""
    return lambda seen: end + (start - end) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(seen / images, 0.0, 1.0)))


def half_life(images: Number | Schedule, ramp_up: Number | None = None) -> Schedule:
    """The half-life of the moving average (EMA) in images: a number, or itself a schedule.

    With `ramp_up` the half-life is `min(images, ramp_up * seen)`: early in a run the moving average then forgets
    the initial weights quickly. Karras et al., StyleGAN2-ADA, 2020 (`ramp_up=0.05`).
    """
    schedule = images if callable(images) else constant(images)
    if ramp_up is None:
        return schedule
    return lambda seen: jnp.minimum(schedule(seen), ramp_up * seen)


def decay(half_life_images: jax.Array, batch: int) -> jax.Array:
    """The weight that the moving average keeps in a step of `batch` images: `0.5 ** (batch / half_life)`."""
    return 0.5 ** (batch / jnp.maximum(half_life_images, 1e-8))


def per_update(schedule: Schedule, images_per_update: float) -> optax.Schedule:
    """Turns a schedule of images into one of updates, which is what an Optax optimizer counts."""
    return lambda count: schedule(count * images_per_update)  # type: ignore[operator, return-value]
