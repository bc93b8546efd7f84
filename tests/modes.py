"""Trains a GAN in every mode, and measures how far apart the final states are."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax

MODES = ("jit", "shard", "pmap", "fused")
AXIS = "data"  # the name of the mesh axis; with another name pmap compiles again for the placed state
FUSED = 4
TOLERANCE, FIRST_GRADIENT = 1e-6, 1e-5


def make_step(gan: gan_jax.GAN, mode: str) -> gan_jax.Step:
    """Returns the step of `gan` in one of `MODES`, compiled at its first call."""
    step = gan_jax.make_train_step(gan, axis_name=AXIS if mode == "pmap" else None)
    if mode == "shard":
        return gan_jax.shard_step(step, gan_jax.make_mesh())
    if mode == "pmap":
        return gan_jax.pmap_step(step, AXIS)
    return gan_jax.jit_step(gan_jax.fuse_steps(step, FUSED) if mode == "fused" else step)


def place(state: Any, mode: str) -> Any:
    return gan_jax.place_state(state, gan_jax.make_mesh()) if mode in ("shard", "pmap") else state


def play(step: gan_jax.Step, mode: str, state: Any, batches: dict[str, np.ndarray], *shared: Any) -> Any:
    """Returns the state after training on all `batches` `[steps, ...]`; `shared` is a step's third argument.

    It waits for each step, as several CPU devices need it. It copies `state`, which is not donated.
    """
    state = place(jax.tree.map(jnp.copy, state), mode)
    size = FUSED if mode == "fused" else 1
    for i in range(0, len(batches["image"]), size):
        batch = jax.tree.map(lambda x, i=i: x[i : i + size] if mode == "fused" else x[i], batches)
        state, metrics = step(state, batch, *shared)
        jax.block_until_ready((state, metrics))
    return state


def on_host(state: Any) -> Any:
    return jax.device_get(state.replace(key=jax.random.key_data(state.key)))


def difference(one: Any, other: Any) -> float:
    """Returns the largest `|a - b| / (1 + |b|)` over all leaves of two states."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.max(np.abs(a - b) / (1 + np.abs(b)), initial=0.0)) for a, b in pairs)


def relative(one: list[Any], other: list[Any]) -> float:
    """Returns the largest `||a - b|| / ||b||` over pairs of gradient trees."""
    pairs = [tuple(np.concatenate([x.ravel() for x in jax.tree.leaves(t)]) for t in ab) for ab in zip(one, other)]
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)
