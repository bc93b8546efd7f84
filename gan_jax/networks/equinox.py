"""The adapter for Equinox."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from ..types import Key, PyTree
from .adapter import chosen, from_dict, library, to_dict
from .keywords import Adapter

_PER_SAMPLE = ("label",)  # keywords whose leading axis is the batch
_WHOLE = ("train", "axis_name", "truncation")


class EquinoxNetwork(Adapter):
    """An Equinox module of one sample as a network; see `from_equinox`."""

    def __init__(self, make: Callable[[Key], Any], axis_name: str):
        self._eqx: Any = library("equinox", "equinox", "from_equinox")
        if isinstance(make, self._eqx.Module):
            raise TypeError("from_equinox takes a function of a key that makes the module, not the module itself")
        self._make, self._axis_name = self._eqx.nn.make_with_state(make), axis_name

    @functools.cached_property
    def _static(self) -> tuple[Any, Any]:
        """The model and its state, with shapes in place of arrays."""
        return self._eqx.filter_eval_shape(self._make, jax.random.key(0))

    def function(self, method: str | None) -> Callable | None:
        return getattr(type(self._static[0]), method or "__call__", None)

    def init(self, key: Key, *unused: PyTree, **also_unused: PyTree) -> dict[str, PyTree]:
        eqx = self._eqx
        model, state = self._make(key)
        params, constants = eqx.partition(eqx.filter(model, eqx.is_array), eqx.is_inexact_array)
        found = {"params": to_dict(params), "constants": to_dict(constants), **self._collections(state)}
        return {name: values for name, values in found.items() if name == "params" or values}

    def apply(
        self,
        variables: PyTree,
        *args: PyTree,
        train: bool = False,
        axis_name: str | None = None,
        keys: Key | None = None,
        mutable: list[str] | None = None,
        method: str | None = None,
        **keywords: PyTree,
    ) -> PyTree:
        model, state = self._merged(variables)
        model = self._eqx.nn.inference_mode(self._over_devices(model, axis_name), value=not train)
        function = model if method is None else getattr(model, method)
        stateful = bool(jax.tree.leaves(state))
        named = self._named(function)
        whole = {**keywords, "train": train, "axis_name": axis_name}
        each = {k: whole.pop(k) for k in _PER_SAMPLE if whole.get(k) is not None}

        def one(args: tuple, each: dict[str, PyTree], key: Key | None) -> tuple:
            more = {"state": state} if stateful and "state" in named else {}
            output = function(*args, **chosen(function, {**whole, **each, "key": key, "keys": key, **more}))
            return output if more else (output, state)

        output, state = jax.vmap(one, out_axes=(0, None), axis_name=self._axis_name)(args, each, keys)
        return (output, self._collections(state)) if mutable else output

    def _named(self, function: Callable) -> frozenset[str]:
        return frozenset(chosen(function, dict.fromkeys(("state",))))

    def _merged(self, variables: PyTree) -> tuple[Any, Any]:
        """Returns the model and its state with the arrays of `variables`."""
        eqx, (shapes, state) = self._eqx, self._static
        array = lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)  # noqa: E731
        arrays, static = eqx.partition(shapes, array)
        params, constants = eqx.partition(arrays, lambda leaf: jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact))
        parts = [from_dict(params, variables["params"]), from_dict(constants, variables.get("constants", {}))]
        leaves, structure = jax.tree.flatten(state)
        names = self._state_names()
        values = [variables[c][name] for (c, name), _ in zip(names, leaves, strict=True)]
        return eqx.combine(*parts, static), jax.tree.unflatten(structure, values)

    def _over_devices(self, model: Any, axis_name: str | None) -> Any:
        """Returns the model with batch norm over the samples of all devices."""
        if axis_name is None:
            return model
        axes = axis_name if isinstance(axis_name, tuple) else (axis_name,)
        norm = lambda node: isinstance(node, self._eqx.nn.BatchNorm)  # noqa: E731

        def widen(node: Any) -> Any:
            if not norm(node):
                return node
            names = node.axis_name if isinstance(node.axis_name, tuple | list) else (node.axis_name,)
            return self._eqx.tree_at(lambda n: n.axis_name, node, (*names, *axes), is_leaf=lambda x: x is None)

        return jax.tree.map(widen, model, is_leaf=norm)

    def _state_names(self) -> list[tuple[str, str]]:
        """Returns the collection and name of each leaf of the state, in order."""
        eqx, (model, state) = self._eqx, self._static
        norm = lambda node: isinstance(node, eqx.nn.BatchNorm)  # noqa: E731
        norms = [node for node in jax.tree.leaves(model, is_leaf=norm) if norm(node)]
        averages = {id(i.marker) for n in norms for i in (n.ema_state_index, n.batch_state_index) if i is not None}
        found = []
        for marker, value in state._state.items():
            for path, leaf in jax.tree.leaves_with_path(value):
                inexact = jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact)
                collection = "batch_stats" if id(marker) in averages and inexact else "state"
                found.append((collection, f"{marker}{jax.tree_util.keystr(path)}"))
        return found

    def _collections(self, state: Any) -> dict[str, PyTree]:
        found: dict[str, dict] = {}
        for (collection, name), leaf in zip(self._state_names(), jax.tree.leaves(state), strict=True):
            found.setdefault(collection, {})[name] = leaf
        return found


def from_equinox(make: Callable[[Key], Any], axis_name: str = "batch") -> EquinoxNetwork:
    """Returns the network of an Equinox module, which is a function of one sample.

        class Generator(eqx.Module):
            mlp: eqx.nn.MLP
            dropout: eqx.nn.Dropout

            def __init__(self, key):
                self.mlp, self.dropout = eqx.nn.MLP(16, 64, 64, 1, key=key), eqx.nn.Dropout(0.5)

            def __call__(self, z, key):
                return jnp.tanh(self.mlp(self.dropout(z, key=key))).reshape(8, 8, 1)

        generator = networks.from_equinox(Generator)

    The module is mapped over the batch by `jax.vmap` with the axis name `axis_name`. It gets the keywords that its
    `__call__` names (see `Network`), those of one sample: `label`, and as `key` the sample's key, or None where
    the sampler has none. Split it where a model has several layers of dropout. A module that names `state` returns
    `(output, state)`; in it lie the statistics of `eqx.nn.BatchNorm`, which are over the global batch.
    `eqx.nn.inference_mode` is set before each pass, so dropout and batch norm need no argument.

    The collections are "params" (arrays of floats), "constants" (other arrays), "batch_stats" (the averages of
    batch norm) and "state" (all other state).

    Args:
        make: a class or function, `(key) -> eqx.Module`.
        axis_name: the name of the batch axis in the model's `eqx.nn.BatchNorm`.

    Raises:
        ImportError: Equinox is not installed.
    """
    return EquinoxNetwork(make, axis_name)
