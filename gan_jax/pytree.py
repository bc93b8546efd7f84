"""Names, descriptions and host copies of the leaves of a pytree."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .types import PyTree


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """The leaves by path, `generator/params/Dense_0/kernel`, in the order in which JAX flattens the tree.

    The fields of a dataclass or a named tuple, the keys of a dict and the positions in a tuple are the parts of
    a path, so a state has the same names as a dict of dicts and after a round trip through a file. A tree that
    is a single leaf has the name `value`.

    Raises:
        ValueError: if two leaves share a path, as in `{"a/b": x, "a": {"b": y}}`.
    """
    named: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/") or "value"
        if name in named:
            raise ValueError(f"Two leaves of the state share the path {name!r}.")
        named[name] = leaf
    return named


def is_key(leaf: Any) -> bool:
    """Whether the leaf is an array of typed keys, as `jax.random.key` makes them, or stands for one."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def describe(leaf: Any) -> str:
    """Type and shape of a leaf (an array, a `ShapeDtypeStruct` or a number): `float32[3,4]`, `key<fry>[]`."""
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def parse_description(description: str) -> tuple[str, tuple[int, ...]]:
    """The inverse of `describe`: `float32[3,4]` is `("float32", (3, 4))`."""
    kind, _, shape = description.removesuffix("]").rpartition("[")
    return kind, tuple(int(size) for size in shape.split(",") if size)


def host_array(leaf: Any) -> np.ndarray:
    """The whole array in host memory, whatever its sharding; of typed keys, their data. No computation is run."""
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
