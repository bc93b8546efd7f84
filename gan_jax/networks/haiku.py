"""The adapter for Haiku."""

from collections.abc import Callable
from typing import Any

from ..types import Key, PyTree
from .adapter import chosen, library
from .keys import per_sample_key
from .keywords import TRAIN, Adapter

_AVERAGES = ("average", "hidden")  # what an ExponentialMovingAverage keeps, besides a counter


class HaikuNetwork(Adapter):
    """A Haiku function as a network; see `from_haiku`."""

    def __init__(self, forward: Callable[..., PyTree]):
        self._haiku: Any = library("haiku", "dm-haiku", "from_haiku")
        if hasattr(forward, "init") and hasattr(forward, "apply"):
            raise TypeError("from_haiku takes the function itself: leave hk.transform and its kind out")
        self._forward = forward
        self._transformed = self._haiku.transform_with_state(forward)

    def function(self, method: str | None) -> Callable | None:
        return self._forward if method is None else None

    def init(self, key: Key, *args: PyTree, **keywords: PyTree) -> dict[str, PyTree]:
        # Batch norm makes its averages in training mode only.
        keywords |= {name: value for name, value in TRAIN.items() if name in keywords}
        params, state = self._transformed.init(key, *args, **chosen(self._forward, keywords))
        return {"params": params, **_collections(state)}

    def apply(self, variables: PyTree, *args: PyTree, **keywords: PyTree) -> PyTree:
        rng = None if keywords.get("keys") is None else per_sample_key(keywords["keys"])
        mutable = keywords.pop("mutable", None)
        axis_name = keywords.get("axis_name")

        def over_devices(next_function: Callable, args: tuple, kwargs: dict, context: Any) -> PyTree:
            module = context.module
            if isinstance(module, self._haiku.BatchNorm) and context.method_name == "__call__":
                module.cross_replica_axis = module.cross_replica_axis or axis_name
            return next_function(*args, **kwargs)

        state = _joined(variables.get("batch_stats", {}), variables.get("state", {}))
        with self._haiku.intercept_methods(over_devices):
            output, state = self._transformed.apply(
                variables["params"], state, rng, *args, **chosen(self._forward, keywords)
            )
        return (output, _collections(state)) if mutable else output


def _collections(state: PyTree) -> dict[str, PyTree]:
    """Splits Haiku's state into the averages of batch norm and all other state; no collection is empty."""
    found: dict[str, dict] = {}
    for module, values in state.items():
        average = module.rpartition("/")[2] in ("mean_ema", "var_ema")
        for name, value in values.items():
            collection = "batch_stats" if average and name in _AVERAGES else "state"
            found.setdefault(collection, {}).setdefault(module, {})[name] = value
    return found


def _joined(statistics: PyTree, state: PyTree) -> dict[str, dict]:
    modules = sorted({*statistics, *state})
    return {module: {**statistics.get(module, {}), **state.get(module, {})} for module in modules}


def from_haiku(forward: Callable[..., PyTree]) -> HaikuNetwork:
    """Returns the network of a function of Haiku modules, as one gives it to `hk.transform_with_state`.

        def forward(z, is_training):
            x = hk.BatchNorm(True, True, 0.9)(hk.Linear(64)(z), is_training)
            x = hk.dropout(hk.next_rng_key(), 0.5, jax.nn.relu(x)) if is_training else jax.nn.relu(x)
            return jnp.tanh(hk.Linear(64)(x)).reshape(-1, 8, 8, 1)

        generator = networks.from_haiku(forward)

    The function gets the keywords that it names (see `Network`). `hk.BatchNorm` is over the global batch.
    `hk.next_rng_key()` gives keys whose draws belong to single samples: see `per_sample_key` for the shapes.

    The collection "batch_stats" has the averages of batch norm, "state" all other state.

    Raises:
        ImportError: Haiku is not installed.
        TypeError: `forward` is transformed already.
    """
    return HaikuNetwork(forward)
