"""Names, descriptions and host copies of the leaves of a pytree; two batches as one."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from .types import PyTree

Leaf: TypeAlias = Any  # an array, typed keys, a `jax.ShapeDtypeStruct` or a number


def named_leaves(tree: PyTree) -> dict[str, Leaf]:
    """Returns the leaves by their paths, such as `generator/params/Dense_0/kernel`, in JAX's flattening order.

    The parts of a path are fields of dataclasses and named tuples, keys of dicts, and positions in tuples. So a
    state has the same paths after a round trip through dicts or files. A tree that is a single leaf has the path
    `value`.

    Raises:
        ValueError: if two leaves share a path, as in `{"a/b": x, "a": {"b": y}}`.
    """
    named: dict[str, Leaf] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/") or "value"
        if name in named:
            raise ValueError(f"Two leaves of the state share the path {name!r}.")
        named[name] = leaf
    return named


def is_key(leaf: Leaf) -> bool:
    """Returns whether the leaf is an array of typed keys (`jax.random.key`), or the shape and dtype of one."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def describe_leaf(leaf: Leaf) -> str:
    """Returns the type and the shape of a leaf as text, such as `float32[3,4]` or `key<fry>[]`."""
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def parse_description(description: str) -> tuple[str, tuple[int, ...]]:
    """Inverts `describe_leaf`: `float32[3,4]` gives `("float32", (3, 4))`."""
    kind, _, shape = description.removesuffix("]").rpartition("[")
    return kind, tuple(int(size) for size in shape.split(",") if size)


def host_array(leaf: Leaf) -> np.ndarray:
    """Returns the global array in host memory, of typed keys their data, without running a computation."""
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)


def widened(tree: PyTree) -> PyTree:
    """Returns the tree with floating leaves in float32 at least: 16 bits would lose small changes."""

    def widen(leaf: jax.Array) -> jax.Array:
        if is_key(leaf) or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))

    return jax.tree.map(widen, tree)


def alike(one: PyTree, other: PyTree) -> bool:
    """Returns whether two trees of arrays have the same structure, shapes and types."""
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other))
    return all(a.shape == b.shape and a.dtype == b.dtype for a, b in leaves)


def interleaved(one: PyTree, other: PyTree) -> PyTree:
    """Joins two batches of leaves `[B, ...]` into one, `[2 B, ...]`, in which their samples take turns.

    So a batch that is split over devices needs no communication: each joins its own samples.
    """

    def join(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.stack([a, b], axis=1).reshape(2 * a.shape[0], *a.shape[1:])

    return jax.tree.map(join, one, other)


def separated(tree: PyTree) -> tuple[PyTree, PyTree]:
    """Inverts `interleaved`."""
    pairs = jax.tree.map(lambda x: x.reshape(x.shape[0] // 2, 2, *x.shape[1:]), tree)
    return jax.tree.map(lambda x: x[:, 0], pairs), jax.tree.map(lambda x: x[:, 1], pairs)
