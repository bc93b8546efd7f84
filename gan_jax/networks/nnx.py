"""The adapter for Flax NNX."""

import functools
import zlib
from collections.abc import Callable
from typing import Any

import jax

from ..types import Key, PyTree
from .adapter import chosen, from_dict, to_dict
from .keys import per_sample_key
from .keywords import Adapter


class NNXNetwork(Adapter):
    """An NNX module as a network; see `from_nnx`."""

    def __init__(self, make: Callable[[Any], Any]):
        from flax import nnx  # a second or two, for its users only

        if isinstance(make, nnx.Module):
            raise TypeError("from_nnx takes a function of nnx.Rngs that makes the module, not the module itself")
        self._nnx, self._make = nnx, make

    @functools.cached_property
    def _abstract(self) -> Any:
        return self._nnx.eval_shape(lambda: self._make(self._nnx.Rngs(0)))

    def function(self, method: str | None) -> Callable | None:
        return self._called(self._abstract, method)

    def _called(self, module: Any, method: str | None) -> Callable | None:
        """Returns the function whose signature says which keywords a module gets."""
        nnx, kind = self._nnx, type(module)
        if method is None and kind.__call__ is nnx.Sequential.__call__ and module.layers:
            first = module.layers[0]  # it alone gets the keywords
            return self._called(first, None) if isinstance(first, nnx.Module) else first
        return getattr(kind, method or "__call__", None)

    def _split(self, module: Any) -> tuple[Any, dict[str, PyTree], PyTree]:
        """Returns the graph, the collections (none is empty), and the state of random streams."""
        nnx = self._nnx
        graph, params, statistics, streams, state = nnx.split(module, nnx.Param, nnx.BatchStat, nnx.RngState, ...)
        found = {"params": params, "batch_stats": statistics, "state": state}
        return graph, {k: v for k, v in found.items() if k == "params" or jax.tree.leaves(v)}, streams

    def init(self, key: Key, *unused: PyTree, **also_unused: PyTree) -> dict[str, PyTree]:
        collections = self._split(self._make(self._nnx.Rngs(key)))[1]
        return {name: to_dict(self._nnx.to_pure_dict(state)) for name, state in collections.items()}

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
        nnx = self._nnx
        graph, shapes, streams = self._split(self._abstract)
        states = []
        for name, state in shapes.items():
            values = from_dict(nnx.to_pure_dict(state), variables[name])
            state = jax.tree.map(lambda x: x, state)  # a copy
            nnx.replace_by_pure_dict(state, values)
            states.append(state)
        module = nnx.merge(graph, *states, self._streams(streams, keys))
        (module.train if train else module.eval)()
        for _, node in nnx.iter_modules(module):
            if isinstance(node, nnx.BatchNorm) and node.axis_name is None:
                node.axis_name = axis_name
        counts = [s.count.get_value() for _, s in nnx.iter_graph(module) if isinstance(s, nnx.RngStream)]
        function = getattr(module, method or "__call__")
        keywords |= {"train": train, "axis_name": axis_name, "keys": keys}
        output = function(*args, **chosen(self.function(method) or function, keywords))
        after = [s.count.get_value() for _, s in nnx.iter_graph(module) if isinstance(s, nnx.RngStream)]
        if keys is None and any(a is not b for a, b in zip(counts, after, strict=True)):
            raise ValueError(f"{type(module).__name__} draws from a random stream: give the sampler a key")
        if not mutable:
            return output
        changed = self._split(module)[1]
        return output, {name: to_dict(nnx.to_pure_dict(changed[name])) for name in mutable if name in changed}

    def _streams(self, streams: PyTree, keys: Key | None) -> PyTree:
        """Returns the state of random streams for one pass: each stream has the samples' keys and its own path."""
        nnx = self._nnx
        base = jax.random.key(0) if keys is None else per_sample_key(keys)
        filled = []
        for path, variable in nnx.to_flat_state(streams):
            if isinstance(variable, nnx.RngKey):
                place = zlib.crc32("/".join(map(str, path)).encode())  # the same in every process
                value = jax.random.fold_in(base, place)
            else:
                value = jax.numpy.zeros(variable.get_value().shape, variable.get_value().dtype)
            filled.append((path, variable.replace(value)))
        return nnx.from_flat_state(filled)


def from_nnx(make: Callable[[Any], Any]) -> NNXNetwork:
    """Returns the network of an NNX module.

        class Generator(nnx.Module):
            def __init__(self, rngs):
                self.hidden = nnx.Linear(16, 64, rngs=rngs)
                self.norm = nnx.BatchNorm(64, rngs=rngs)
                self.dropout = nnx.Dropout(0.5, rngs=rngs)
                self.out = nnx.Linear(64, 64, rngs=rngs)

            def __call__(self, z):
                x = self.dropout(nnx.relu(self.norm(self.hidden(z))))
                return jnp.tanh(self.out(x)).reshape(-1, 8, 8, 1)

        generator = networks.from_nnx(Generator)

    The module gets the keywords that its `__call__` names (see `Network`). `module.train()` or `module.eval()` is
    called before each pass, so dropout and batch norm need no argument. `nnx.BatchNorm` is over the global batch.
    Random streams (`nnx.Rngs`) make draws that belong to single samples: see `per_sample_key` for the shapes.

    The collections are "params" (`nnx.Param`), "batch_stats" (`nnx.BatchStat`), and "state": all other variables
    but those of random streams.

    Args:
        make: a class or function, `(rngs) -> nnx.Module`.
    """
    return NNXNetwork(make)
