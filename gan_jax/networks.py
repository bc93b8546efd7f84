"""How a network of any kind is called: keywords it does not name are not passed, state is taken apart."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from .types import Network, PyTree, Variables


@functools.lru_cache(maxsize=256)
def _named(function: Any) -> tuple[frozenset[str], bool]:
    parameters = inspect.signature(function).parameters.values()
    named = frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def accepted(network: Network, entry: str, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords that `network` names in its signature; all of them where it takes `**anything`.

    `entry` is "init" or "apply". The keyword `method` asks for one of the network's other functions ("mapping",
    "synthesis"): of a Linen module it is the method of that name, called with what *it* names; any other network
    names `method` in its `apply`, and does as it says.

    Raises:
        ValueError: the network has no such method.
    """
    method = keywords.get("method")
    if isinstance(network, nn.Module):  # apply and init hand their keywords on to the method
        function = getattr(type(network), method or "__call__", None)
        named, anything = (frozenset(), False) if function is None else _named(function)
        named |= {"mutable", "method"} if entry == "apply" and function is not None else frozenset()
    else:
        function = getattr(network, entry)
        named, anything = _named(getattr(function, "__func__", function))
    if method is not None and not (anything or "method" in named):
        raise ValueError(
            f"{type(network).__name__} of {type(network).__module__} has no method {method!r}, which this game "
            "calls (a path length penalty does): take a network that has it"
        )
    return {k: v for k, v in keywords.items() if anything or k in named}


def split_variables(variables: Any, network: Network) -> tuple[PyTree, dict[str, Any]]:
    """`(params, model_state)` of what a network's `init` returned.

    Raises:
        TypeError: `variables` is not a mapping with `"params"`.
    """
    if not isinstance(variables, Mapping) or "params" not in variables:
        raise TypeError(
            f"{type(network).__name__}.init must return a mapping with 'params' (and, if the network keeps "
            f"state, other collections), but it returned {type(variables).__name__}"
        )
    return variables["params"], {k: v for k, v in variables.items() if k != "params"}


def join_variables(params: PyTree, model_state: Mapping[str, Any]) -> dict[str, Any]:
    return {"params": params, **model_state}


def init_network(network: Network, key: Any, *args: Any, **keywords: Any) -> tuple[PyTree, dict[str, Any]]:
    """Initialise `network` on example inputs; `(params, model_state)`."""
    return split_variables(network.init(key, *args, **accepted(network, "init", keywords)), network)


def call_network(
    network: Network, params: PyTree, model_state: Mapping[str, Any], *args: Any, **keywords: Any
) -> tuple[Any, dict[str, Any]]:
    """Run `network` in training mode: `(output, model_state)`, the state as the pass left it."""
    extra = accepted(network, "apply", {"mutable": list(model_state), "train": True, **keywords})
    if not model_state or "mutable" not in extra:
        extra.pop("mutable", None)
        return network.apply(join_variables(params, model_state), *args, **extra), dict(model_state)
    output, changed = network.apply(join_variables(params, model_state), *args, **extra)
    return output, {**model_state, **changed}


def sample_network(network: Network, variables: Variables, *args: Any, **keywords: Any) -> Any:
    """Run `network` for its output alone, `train=False`."""
    extra = accepted(network, "apply", {"train": False, **keywords})
    return network.apply(variables, *args, **extra)


def refresh(network: Network, params: PyTree, model_state: Mapping[str, Any]) -> dict[str, Any]:
    """The model state at the start of the network's own turn (see `Network.refresh`).

    Raises:
        ValueError: a network with vectors of spectral norm has no `refresh`: they would stay as they were drawn.
    """
    if not hasattr(network, "refresh"):
        if model_state.get("spectral"):
            raise ValueError(
                f"{type(network).__name__} of {type(network).__module__} has spectral norm, but no `refresh` for "
                "its power iteration: derive it from gan_jax.models.layers.SpectralNormed, or give it "
                "refresh(variables) -> variables"
            )
        return dict(model_state)
    return split_variables(network.refresh(join_variables(params, model_state)), network)[1]  # type: ignore[attr-defined]
