"""A state with leaves of every kind, and helpers that save and compare it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from flax import struct

from gan_jax.checkpoint import Checkpoints
from gan_jax.checkpoint.digest import leaf_digests
from gan_jax.types import PyTree

_TX = optax.adam(1e-2)


class State(struct.PyTreeNode):
    step: jax.Array
    key: jax.Array
    params: dict[str, PyTree]
    opt_state: PyTree
    penalties: tuple


def make_state(seed: int = 0) -> State:
    key = jax.random.key(seed)
    params = {
        "Dense_0": {"kernel": jax.random.normal(key, (8, 4)), "bias": jnp.full((4,), 1 / 3, jnp.bfloat16)},
        "mask": jnp.array([True, False]),
    }
    opt_state = _TX.init({"w": params["Dense_0"]["kernel"]})
    _, opt_state = _TX.update({"w": jnp.full((8, 4), 0.1)}, opt_state)
    rbg = jax.random.split(jax.random.key(seed, impl="rbg"), 4)
    return State(jnp.int32(seed), key, params, opt_state, (rbg, (), jnp.zeros((0, 3)), jnp.float32(-0.0)))


def abstract(state: PyTree) -> PyTree:
    """Returns the shapes, dtypes and shardings of a state."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def save_all(directory: Path, *steps: int, keep: int = 2) -> None:
    with Checkpoints(directory, keep=keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, make_state(step), {"at": step})


def assert_same(state: PyTree, expected: PyTree) -> None:
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    assert leaf_digests(state) == leaf_digests(expected)
