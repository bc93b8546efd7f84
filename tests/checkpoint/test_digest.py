"""Tests of digests, which depend on the values and on nothing else."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from devices import run_python
from gan_jax.checkpoint.digest import leaf_digests, state_digest
from gan_jax.pytree import describe_leaf, named_leaves, parse_description
from gan_jax.types import PyTree


class Player(struct.PyTreeNode):
    params: dict[str, PyTree]
    opt_state: PyTree
    penalties: tuple


def make_state():
    params = {
        "Dense_0": {
            "kernel": jnp.arange(32, dtype=jnp.float32).reshape(8, 4) / 7,
            "bias": jnp.ones(4, jnp.bfloat16),
        }
    }
    return {
        "step": jnp.int32(3),
        "key": jax.random.key(7),
        "keys": jax.random.split(jax.random.key(8, impl="rbg"), 4),
        "generator": Player(params, optax.adam(1e-3).init(params), (jnp.zeros((0, 3)), ())),
        "host": np.arange(4, dtype=np.int64),
    }


def test_the_digest_of_a_leaf_is_the_hash_of_type_shape_and_bytes():
    values = np.array([[1.0, -2.0, 0.5]], np.float32)
    expected = hashlib.blake2b(b"float32[1,3]" + values.tobytes(), digest_size=16).hexdigest()
    assert leaf_digests({"a": jnp.asarray(values)}) == {"a": expected}
    assert leaf_digests({"a": np.asfortranarray(np.repeat(values, 2, 0))[:1]}) == {"a": expected}
    assert leaf_digests(jnp.asarray(values)) == {"value": expected}


def test_the_digest_of_a_typed_key_depends_on_data_and_implementation():
    key = jax.random.key(5)
    data = np.asarray(jax.random.key_data(key))
    expected = hashlib.blake2b(b"key<fry>[]" + data.tobytes(), digest_size=16).hexdigest()
    assert leaf_digests({"k": key})["k"] == expected
    four = np.arange(4, dtype=np.uint32)
    others = [jax.random.wrap_key_data(four, impl=name) for name in ("rbg", "unsafe_rbg")]
    assert len({state_digest({"k": other}) for other in [*others, four]}) == 3


def test_paths_of_dataclasses_named_tuples_dicts_and_tuples():
    assert list(named_leaves(make_state())) == [
        "generator/params/Dense_0/bias",
        "generator/params/Dense_0/kernel",
        "generator/opt_state/0/count",
        "generator/opt_state/0/mu/Dense_0/bias",
        "generator/opt_state/0/mu/Dense_0/kernel",
        "generator/opt_state/0/nu/Dense_0/bias",
        "generator/opt_state/0/nu/Dense_0/kernel",
        "generator/penalties/0",
        "host",
        "key",
        "keys",
        "step",
    ]
    with pytest.raises(ValueError, match="'a/b'"):
        named_leaves({"a/b": 1, "a": {"b": 2}})


def test_the_digest_depends_on_path_type_shape_and_value_of_every_leaf():
    base = {"a": jnp.arange(4.0), "b": jnp.zeros(4)}
    others = [
        {"a": base["a"].at[3].set(np.nextafter(np.float32(3), np.float32(4))), "b": base["b"]},
        {"a": base["b"], "b": base["a"]},
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"]},
        {"a": base["a"].reshape(2, 2), "b": base["b"]},
        {"a": base["a"], "b": base["b"].astype(jnp.int32)},
        {"a": base["a"], "b": -base["b"]},
    ]
    assert len({state_digest(tree) for tree in [base, *others]}) == 8
    leaves = leaf_digests(base)
    assert state_digest(dict(reversed(leaves.items()))) == state_digest(leaves) == state_digest(base)
    assert len(state_digest(base)) == 32


@pytest.mark.parametrize("leaf", [np.zeros((3, 4), np.int8), jnp.bfloat16(1), np.zeros((0, 2)), jax.random.key(0)])
def test_a_description_is_parsed_back(leaf):
    assert parse_description(describe_leaf(leaf)) == (str(leaf.dtype), leaf.shape)


_FOUR_DEVICES = """
import json
import jax, numpy as np
from test_digest import make_state
from gan_jax.checkpoint.digest import leaf_digests, state_digest

mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
place = lambda *spec: jax.NamedSharding(mesh, jax.P(*spec))
state = make_state()
moved = jax.tree.map(lambda x: jax.device_put(x, place()) if isinstance(x, jax.Array) else x, state)
split = lambda x: place("data") if x.ndim and x.shape[0] % 4 == 0 else place()
sharded = jax.tree.map(lambda x: jax.device_put(x, split(x)) if isinstance(x, jax.Array) else x, state)
assert len(sharded["generator"].params["Dense_0"]["kernel"].addressable_shards[1].data) == 2
assert len(moved["key"].sharding.device_set) == len(sharded["keys"].sharding.device_set) == 4
rows = np.arange(8.0, dtype=np.float32).reshape(4, 2)
mapped = jax.pmap(lambda x: x)(rows)
whole = jax.pmap(lambda x: jax.lax.psum(x, "i"), "i", out_axes=None)(rows)
assert leaf_digests(mapped) == leaf_digests(rows)
assert leaf_digests(whole) == leaf_digests(rows.sum(0))
print(json.dumps([state_digest(state), state_digest(moved), state_digest(sharded)]))
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_digest_does_not_depend_on_the_sharding():
    printed = run_python(_FOUR_DEVICES, devices=4)
    assert json.loads(printed) == [state_digest(make_state())] * 3
