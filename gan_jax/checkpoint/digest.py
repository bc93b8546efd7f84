"""Digests of a state: two states have the same digest if they agree bit for bit."""

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from ..pytree import Leaf, describe_leaf, host_array, named_leaves
from ..types import PyTree


def leaf_digests(tree: PyTree) -> dict[str, str]:
    """Returns the BLAKE2b-128 of each leaf by its path: the hash of type, shape and bytes of the global array.

    The sharding does not enter the digest. Typed keys enter by their implementation and their data.
    """
    return {name: _leaf_digest(leaf) for name, leaf in named_leaves(tree).items()}


def state_digest(tree_or_leaf_digests: PyTree) -> str:
    """Returns one digest, 32 hexadecimal characters, of a state or of the result of `leaf_digests`.

    The paths, types, shapes and bits of the leaves enter the digest; their order does not.
    """
    leaves = tree_or_leaf_digests
    if not (isinstance(leaves, Mapping) and all(isinstance(value, str) for value in leaves.values())):
        leaves = leaf_digests(leaves)
    return hashlib.blake2b(json.dumps(sorted(leaves.items())).encode(), digest_size=16).hexdigest()


def _leaf_digest(leaf: Leaf) -> str:
    # The description ends with "]", so different leaves never give the same bytes to the hash.
    digest = hashlib.blake2b(describe_leaf(leaf).encode(), digest_size=16)
    # hashlib cannot read arrays of types such as bfloat16, so they are viewed as uint8.
    digest.update(np.ascontiguousarray(host_array(leaf)).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
