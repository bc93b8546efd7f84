"""What the adapters share: calls with the keywords that a function names, and trees as nested dicts."""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType

import jax

from ..types import PyTree
from .keywords import signature


def library(name: str, package: str, adapter: str) -> ModuleType:
    """Imports the library of an adapter.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(f"networks.{adapter} needs {name}: pip install {package}") from error


def chosen(function: Callable, keywords: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Returns the keywords that `function` names, or all of them if it takes `**anything`."""
    named, anything = signature(function)
    return {k: v for k, v in keywords.items() if anything or k in named}


def to_dict(tree: PyTree) -> dict[str, PyTree]:
    """Returns the leaves of a tree as nested dicts of strings, which any checkpoint can hold."""
    result: dict[str, PyTree] = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        *above, last = _names(path)
        folder = result
        for name in above:
            folder = folder.setdefault(name, {})
        folder[last] = leaf
    return result


def from_dict(tree: PyTree, values: Mapping[str, PyTree]) -> PyTree:
    """Returns `tree` with the leaves of `values`, which `to_dict` made of a tree of this structure."""

    def value(path: tuple, _: PyTree) -> PyTree:
        found = values
        for name in _names(path):
            found = found[name]
        return found

    return jax.tree.map_with_path(value, tree)


def _names(path: tuple) -> list[str]:
    return [jax.tree_util.keystr((key,), simple=True) for key in path] or ["value"]
