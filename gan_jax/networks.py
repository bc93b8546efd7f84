"""How a network of any kind is called. Keywords that its signature does not name are not passed."""

import functools
import inspect
from collections.abc import Callable, Mapping

from flax import linen as nn

from .types import Key, Network, PyTree, Variables


@functools.lru_cache(maxsize=256)
def _named(function: Callable) -> tuple[frozenset[str], bool]:
    """Returns the names of the parameters, and whether the function takes any other keyword too."""
    parameters = inspect.signature(function).parameters.values()
    named = frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def accepted(network: Network, entry: str, keywords: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Returns the keywords that `network` names in its signature, or all of them if it takes `**anything`.

    The keyword `method` asks for another function of the network ("mapping", "synthesis"). In a Linen module it is
    the method of that name, and gets the keywords that this method names. Any other network names `method` in its
    `apply`.

    Args:
        network: a generator or discriminator.
        entry: "init" or "apply".
        keywords: what the library offers.

    Raises:
        ValueError: the network has no such method.
    """
    method = keywords.get("method")
    if isinstance(network, nn.Module):  # apply and init pass their keywords on to the method
        function = getattr(type(network), method or "__call__", None)
        named, anything = (frozenset(), False) if function is None else _named(function)
        named |= {"mutable", "method"} if entry == "apply" and function is not None else frozenset()
    else:
        function = getattr(network, entry)
        named, anything = _named(getattr(function, "__func__", function))
    if method is not None and not (anything or "method" in named):
        raise ValueError(
            f"{type(network).__name__} of {type(network).__module__} has no method {method!r}, which this GAN "
            "calls (a path length penalty does): use a network that has it"
        )
    return {k: v for k, v in keywords.items() if anything or k in named}


def statistics_names(network: Network) -> tuple[str, ...]:
    """Returns the names of the network's collections of batch statistics.

    A network says which they are in an attribute `statistics`, a tuple of names; without one it is
    `("batch_stats",)`, as in Linen. They are averaged into the EMA, and standing statistics measures them again.

    Raises:
        TypeError: `statistics` is not a tuple, list or set of names.
    """
    names = getattr(network, "statistics", ("batch_stats",))
    listed = isinstance(names, tuple | list | set | frozenset)
    if not listed or not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"{type(network).__name__}.statistics must be a tuple of names of collections, such as "
            f'("batch_stats",), but it is {names!r}'
        )
    return tuple(names) if not isinstance(names, set | frozenset) else tuple(sorted(names))


def split_variables(variables: PyTree, network: Network) -> tuple[PyTree, dict[str, PyTree]]:
    """Splits what a network's `init` returned into `(params, model_state)`.

    Raises:
        TypeError: `variables` is not a mapping with `"params"`.
    """
    if not isinstance(variables, Mapping) or "params" not in variables:
        raise TypeError(
            f"{type(network).__name__}.init must return a mapping with 'params' (and, if the network keeps "
            f"state, other collections), but it returned {type(variables).__name__}"
        )
    return variables["params"], {k: v for k, v in variables.items() if k != "params"}


def join_variables(params: PyTree, model_state: Mapping[str, PyTree]) -> dict[str, PyTree]:
    return {"params": params, **model_state}


def init_network(
    network: Network, key: Key, *args: PyTree, **keywords: PyTree
) -> tuple[PyTree, dict[str, PyTree]]:
    """Initialises `network` on example inputs, and returns `(params, model_state)`."""
    return split_variables(network.init(key, *args, **accepted(network, "init", keywords)), network)


def call_network(
    network: Network, params: PyTree, model_state: Mapping[str, PyTree], *args: PyTree, **keywords: PyTree
) -> tuple[PyTree, dict[str, PyTree]]:
    """Runs `network` in training mode, and returns `(output, model_state)` with the state after the pass."""
    extra = accepted(network, "apply", {"mutable": list(model_state), "train": True, **keywords})
    if not model_state or "mutable" not in extra:
        extra.pop("mutable", None)
        return network.apply(join_variables(params, model_state), *args, **extra), dict(model_state)
    output, changed = network.apply(join_variables(params, model_state), *args, **extra)
    return output, {**model_state, **changed}


def sample_network(network: Network, variables: Variables, *args: PyTree, **keywords: PyTree) -> PyTree:
    """Runs `network` with `train=False`, and returns its output."""
    extra = accepted(network, "apply", {"train": False, **keywords})
    return network.apply(variables, *args, **extra)


def refresh(network: Network, params: PyTree, model_state: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Returns the model state at the start of the network's own update (see `Network`).

    Raises:
        ValueError: a network with vectors of spectral norm has no `refresh`, so they would keep their first
            values.
    """
    function = getattr(network, "refresh", None)
    if function is not None:
        return split_variables(function(join_variables(params, model_state)), network)[1]
    if model_state.get("spectral"):
        raise ValueError(
            f"{type(network).__name__} of {type(network).__module__} has spectral norm, but no `refresh` for "
            "its power iteration: derive it from gan_jax.models.layers.SpectralNormed, or give it "
            "refresh(variables) -> variables"
        )
    return dict(model_state)
