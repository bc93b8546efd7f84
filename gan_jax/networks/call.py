"""How a network of any kind is called. Keywords that its signature does not name are not passed."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.errors import InvalidRngError

from ..types import Key, Network, PyTree, Variables
from .keys import per_sample_key

# Names of `train`, and whether a network gets `train` under it, or `not train`.
TRAIN = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}
_STREAMS = ("dropout", "noise")  # the random streams that a Linen module gets, each made of `keys`


class Adapter:
    """A network of another library. It gets what it needs itself, and what the library's function names.

    Attributes:
        needs: the keywords that `apply` of the adapter takes itself.
    """

    needs: frozenset[str] = frozenset({"train", "axis_name", "keys", "mutable"})

    def function(self, method: str | None) -> Callable | None:
        """Returns the function of the model whose signature says which keywords it gets; None: no such method."""
        raise NotImplementedError


def signature(function: Callable) -> tuple[frozenset[str], bool]:
    """Returns the names of the parameters, and whether the function takes any other keyword too.

    A function without a signature names nothing. Keywords that a `functools.partial` has bound stay as they are.
    """
    try:
        return _cached_signature(function)
    except TypeError:  # it has no hash
        return _read_signature(function)


def _read_signature(function: Callable) -> tuple[frozenset[str], bool]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return frozenset(), False
    bound = function.keywords if isinstance(function, functools.partial) else {}
    named = frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return named - set(bound), any(p.kind is p.VAR_KEYWORD for p in parameters)


_cached_signature = functools.lru_cache(maxsize=256)(_read_signature)


def _nnx_class(module: nn.Module) -> Callable | None:
    """Returns the NNX class that a `flax.nnx.bridge.ToLinen` wraps, or None for another module."""
    bridge = sys.modules.get("flax.nnx.bridge.wrappers")  # not imported here: whoever has such a module has it
    return module.nnx_class if bridge is not None and isinstance(module, bridge.ToLinen) else None


def _linen_function(module: nn.Module, method: str | None) -> Callable | None:
    """Returns the function whose signature says which keywords a Linen module gets."""
    inner = _nnx_class(module)
    if inner is not None:
        return getattr(inner, method or "__call__", None) if isinstance(inner, type) else (lambda: None)
    if method is None and isinstance(module, nn.Sequential) and type(module).__call__ is nn.Sequential.__call__:
        first = module.layers[0] if module.layers else (lambda: None)  # it alone gets the keywords
        return _linen_function(first, None) if isinstance(first, nn.Module) else first
    return getattr(type(module), method or "__call__", None)


def accepted(network: Network, entry: str, keywords: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Returns the keywords that `network` names in its signature, or all of them if it takes `**anything`.

    Where `train` is offered, a network that names `training` or `is_training` gets it under that name, and one
    that names `deterministic` or `use_running_average` gets `not train`.

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
    own: frozenset[str] = frozenset()  # keywords of `apply` itself
    if isinstance(network, nn.Module):  # apply and init pass their keywords on to the method
        function = _linen_function(network, method)
        own = frozenset({"mutable", "method"} if entry == "apply" and function is not None else ())
    elif isinstance(network, Adapter):
        function = network.function(method)
        own = network.needs | ({"method"} if function is not None else frozenset())
    else:
        function = getattr(network, entry)
        function = getattr(function, "__func__", function)
    named, anything = (frozenset(), False) if function is None else signature(function)
    if method is not None and not (anything or "method" in named | own):
        raise ValueError(
            f"{type(network).__name__} of {type(network).__module__} has no method {method!r}, which this GAN "
            "calls (a path length penalty does): use a network that has it"
        )
    extra = {k: v for k, v in keywords.items() if anything or k in named | own}
    if "train" in keywords:
        extra |= {name: keywords["train"] == same for name, same in TRAIN.items() if name in named}
    return extra


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
    """Initialises `network` on example inputs, and returns `(params, model_state)`.

    Batch statistics are float32 at least: a running mean of 16 bits would stop moving.
    """
    variables = network.init(key, *args, **accepted(network, "init", keywords))
    params, model_state = split_variables(variables, network)
    for name in set(statistics_names(network)) & set(model_state):
        model_state[name] = jax.tree.map(_float32_at_least, model_state[name])
    return params, model_state


def _float32_at_least(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)) if jnp.issubdtype(x.dtype, jnp.floating) else x


def call_network(
    network: Network, params: PyTree, model_state: Mapping[str, PyTree], *args: PyTree, **keywords: PyTree
) -> tuple[PyTree, dict[str, PyTree]]:
    """Runs `network` in training mode, and returns `(output, model_state)` with the state after the pass.

    Each collection has the types that it had before the pass.
    """
    keywords = {"mutable": list(model_state), "train": True, **keywords}
    if not model_state:
        del keywords["mutable"]
    output = _apply(network, join_variables(params, model_state), args, keywords)
    if not model_state or "mutable" not in accepted(network, "apply", keywords):
        return output, dict(model_state)
    output, changed = output
    return output, {**model_state, **{k: _typed_as(v, model_state.get(k)) for k, v in changed.items()}}


def _typed_as(tree: PyTree, before: PyTree) -> PyTree:
    if jax.tree.structure(tree) != jax.tree.structure(before):
        return tree
    return jax.tree.map(lambda new, old: jnp.asarray(new).astype(jnp.result_type(old)), tree, before)


def sample_network(network: Network, variables: Variables, *args: PyTree, **keywords: PyTree) -> PyTree:
    """Runs `network` with `train=False`, and returns its output."""
    return _apply(network, variables, args, {"train": False, **keywords})


def _apply(network: Network, variables: Variables, args: tuple, keywords: dict[str, PyTree]) -> PyTree:
    """Calls `network.apply` with the keywords that it names; a Linen module gets random streams made of `keys`."""
    extra = accepted(network, "apply", keywords)
    if not isinstance(network, nn.Module):
        return network.apply(variables, *args, **extra)
    inner, keys = _nnx_class(network), keywords.get("keys")
    if inner is not None:
        network = network.clone(nnx_class=functools.partial(_in_mode, inner, keywords["train"]))
    if keys is not None:
        bases = [keys, jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)]
        extra["rngs"] = {name: per_sample_key(base) for name, base in zip(_STREAMS, bases, strict=True)}
    try:
        return network.apply(variables, *args, **extra)
    except InvalidRngError as error:
        if keys is None:
            advice = "it gets no random stream without keys: give the sampler a key"
        else:
            advice = (
                f"its random streams are {' and '.join(_STREAMS)}: use one of these names (inside nn.scan and "
                "nn.vmap list it in split_rngs), or draw from `keys`, one key a sample"
            )
        raise ValueError(f"{type(network).__name__} of {type(network).__module__}: {advice}") from error


def _in_mode(make: Callable, train: bool, *args: PyTree, **keywords: PyTree) -> PyTree:
    """Makes an NNX module, in training or evaluation mode."""
    module = make(*args, **keywords)
    (module.train if train else module.eval)()
    return module


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
