"""Digests of a state: whether two runs agree bit for bit, in 32 characters."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..pytree import describe, host_array, named_leaves
from ..types import PyTree


def leaf_digests(tree: PyTree) -> dict[str, str]:
    """BLAKE2b-128 of each leaf, by its path: of its type, its shape and the bytes of the global array.

    The sharding does not count: an array on one device, replicated, or sharded has one digest. Typed keys count
    by their implementation and their data.
    """
    return {name: _leaf_digest(leaf) for name, leaf in named_leaves(tree).items()}


def state_digest(tree_or_leaf_digests: PyTree) -> str:
    """One digest, 32 hexadecimal characters, of a state, or of what `leaf_digests` gave for it.

    The order of the leaves does not count; their paths, types, shapes and bits do.
    """
    leaves = tree_or_leaf_digests
    if not (isinstance(leaves, Mapping) and all(isinstance(value, str) for value in leaves.values())):
        leaves = leaf_digests(leaves)
    return hashlib.blake2b(json.dumps(sorted(leaves.items())).encode(), digest_size=16).hexdigest()


def _leaf_digest(leaf: Any) -> str:
    # The header ends in "]" and cannot run into the data: no two leaves give the same bytes to the hash.
    digest = hashlib.blake2b(describe(leaf).encode(), digest_size=16)
    # bfloat16 and its kin offer no buffer to hashlib, so the bytes are taken as uint8.
    digest.update(np.ascontiguousarray(host_array(leaf)).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
