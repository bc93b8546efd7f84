"""Which keywords a network gets: those that its signature names."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping

from flax import linen as nn

from ..types import Network, PyTree

# Names of `train`, and whether a network gets `train` under it, or `not train`.
TRAIN = {
    "train": True,
    "training": True,
    "is_training": True,
    "is_train": True,
    "deterministic": False,
    "inference": False,
    "use_running_average": False,
}


class Adapter:
    """A network of another library. It gets what it needs itself, and what the library's function names.

    Attributes:
        needs: the keywords that `apply` of the adapter takes itself.
    """

    needs: frozenset[str] = frozenset({"train", "axis_name", "keys", "mutable"})

    def function(self, method: str | None) -> Callable | None:
        """Returns the function of the model whose signature says which keywords it gets; None: no such method."""
        raise NotImplementedError


class Composite:
    """A network made of other networks, `parts`. It gets what `needs` says and what one of the parts names.

    Attributes:
        parts: the networks; each gets the keywords that it names itself.
        needs: the keywords that the composite takes itself.
    """

    parts: tuple[Network, ...]
    needs: frozenset[str] = frozenset({"train", "axis_name", "keys", "mutable"})


def parts_of(network: Network) -> list[Network]:
    """Returns the networks that a composite is made of, at any depth; of another network the network itself."""
    if not isinstance(network, Composite):
        return [network]
    return [inner for part in network.parts for inner in parts_of(part)]


def signature(function: Callable) -> tuple[frozenset[str], bool]:
    """Returns the names of the parameters, and whether the function takes any other keyword too.

    A function without a signature names nothing. Keywords that a `functools.partial` has bound stay as they are.
    """
    if inspect.ismethod(function):  # the cache would keep its object alive, with all its arrays
        return read_signature(function)
    try:
        return _cached_signature(function)
    except TypeError:  # it has no hash
        return read_signature(function)


def read_signature(function: Callable) -> tuple[frozenset[str], bool]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return frozenset(), False
    bound = function.keywords if isinstance(function, functools.partial) else {}
    named = frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return named - set(bound), any(p.kind is p.VAR_KEYWORD for p in parameters)


_cached_signature = functools.lru_cache(maxsize=256)(read_signature)


def nnx_class(module: nn.Module) -> Callable | None:
    """Returns the NNX class that a `flax.nnx.bridge.ToLinen` wraps, or None for another module."""
    bridge = sys.modules.get("flax.nnx.bridge.wrappers")  # not imported here: whoever has such a module has it
    return module.nnx_class if bridge is not None and isinstance(module, bridge.ToLinen) else None


def _linen_function(module: nn.Module, method: str | None) -> Callable | None:
    """Returns the function whose signature says which keywords a Linen module gets."""
    inner = nnx_class(module)
    if inner is not None:
        return getattr(inner, method or "__call__", None) if isinstance(inner, type) else (lambda: None)
    if method is None and isinstance(module, nn.Sequential) and type(module).__call__ is nn.Sequential.__call__:
        first = module.layers[0] if module.layers else (lambda: None)  # it alone gets the keywords
        return _linen_function(first, None) if isinstance(first, nn.Module) else first
    return getattr(type(module), method or "__call__", None)


def accepted(network: Network, entry: str, keywords: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Returns the keywords that `network` names in its signature, or all of them if it takes `**anything`.

    Where `train` is offered, a network that names `training`, `is_training` or `is_train` gets it under that name,
    and one that names `deterministic`, `inference` or `use_running_average` gets `not train`.

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
    named, anything, own = _names(network, entry, method)
    if method is not None and not (anything or "method" in named | own):
        raise ValueError(
            f"{name_of(network)} has no method {method!r}, which this GAN "
            "calls (a path length penalty does): use a network that has it"
        )
    extra = {k: v for k, v in keywords.items() if anything or k in named | own}
    if "train" in keywords:
        extra |= {name: keywords["train"] == same for name, same in TRAIN.items() if name in named}
    return extra


def _names(network: Network, entry: str, method: str | None) -> tuple[frozenset[str], bool, frozenset[str]]:
    """Returns the keywords that a network names, whether it takes any other, and those of `apply` itself."""
    own: frozenset[str] = frozenset()
    if isinstance(network, Composite):  # another method of it would have to be one of each part
        parts = [_names(part, entry, None) for part in network.parts]
        named = frozenset().union(*(names | also for names, _, also in parts)) - {"method", *TRAIN}
        return named, any(anything for _, anything, _ in parts), network.needs
    if isinstance(network, nn.Module):  # apply and init pass their keywords on to the method
        function = _linen_function(network, method)
        own = frozenset({"mutable", "method"} if entry == "apply" and function is not None else ())
    elif isinstance(network, Adapter):
        function = network.function(method)
        own = network.needs | ({"method"} if function is not None else frozenset())
    else:
        function = getattr(network, entry)
        module = getattr(function, "__self__", None)
        if isinstance(module, nn.Module):  # `from_functions(module.init, module.apply)`
            return _names(module, entry, method)
        function = getattr(function, "__func__", function)
    named, anything = (frozenset(), False) if function is None else signature(function)
    return named, anything, own


def names(network: Network, keyword: str) -> bool:
    """Returns whether the network names this keyword: `**anything` does not count."""
    return keyword in _names(network, "apply", None)[0]


def names_axis(network: Network) -> bool:
    """Returns whether the network names the keyword `axis_name`: `**anything` does not count."""
    return names(network, "axis_name")


def name_of(network: Network) -> str:
    return f"{type(network).__name__} of {type(network).__module__}"
