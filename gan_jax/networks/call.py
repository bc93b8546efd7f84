"""How a network of any kind is called. Keywords that its signature does not name are not passed."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.errors import InvalidRngError
from jax.errors import TracerBoolConversionError

from ..pytree import widened
from ..types import Key, Network, PyTree, Variables
from .keys import per_sample_key
from .keywords import accepted, name_of, nnx_class

_STREAMS = ("dropout", "noise")  # the random streams that a Linen module gets, each made of `keys`


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
        keys = f" with {sorted(map(str, variables))}" if isinstance(variables, Mapping) else ""
        raise TypeError(
            f"{type(network).__name__}.init must return a mapping with 'params' (and, if the network keeps "
            f"state, other collections), but it returned {type(variables).__name__}{keys}"
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
    rngs: PyTree = key
    if isinstance(network, nn.Module) and type(network).init is nn.Module.init:
        rngs = {"params": key, "default": jax.random.fold_in(key, 1)}  # "default": for an NNX module inside
    with _explained(network, sampling=False):
        variables = network.init(rngs, *args, **accepted(network, "init", keywords))
    params, model_state = split_variables(variables, network)
    for name in set(statistics_names(network)) & set(model_state):
        model_state[name] = widened(model_state[name])
    return params, model_state


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


def typed_as_initialised(network: Network, variables: Variables, *args: PyTree, **keywords: PyTree) -> Variables:
    """Casts the moving average of 16-bit parameters, which is float32, to the types of the network's `init`.

    A network may compute only with equal types. Variables are returned as they are if they have other types than
    `widened` gives, or if `init` cannot be traced or makes another structure.

    Args:
        network: a generator.
        variables: its variables, or their moving average.
        args, keywords: example inputs, as for `init_network`.
    """
    try:
        like = jax.eval_shape(
            lambda key: join_variables(*init_network(network, key, *args, **keywords)), jax.random.key(0)
        )
    except Exception:  # an `init` that cannot be traced
        return variables
    if jax.tree.structure(like) != jax.tree.structure(dict(variables)):
        return variables

    def typed(leaf: jax.Array, wanted: jax.ShapeDtypeStruct, wide: jax.ShapeDtypeStruct) -> jax.Array:
        return leaf.astype(wanted.dtype) if leaf.dtype == wide.dtype else leaf

    return jax.tree.map(typed, dict(variables), like, jax.eval_shape(widened, like))


def sample_network(network: Network, variables: Variables, *args: PyTree, **keywords: PyTree) -> PyTree:
    """Runs `network` with `train=False`, and returns its output."""
    return _apply(network, variables, args, {"train": False, **keywords})


def _apply(network: Network, variables: Variables, args: tuple, keywords: dict[str, PyTree]) -> PyTree:
    """Calls `network.apply` with the keywords that it names; a Linen module gets random streams made of `keys`."""
    extra = accepted(network, "apply", keywords)
    if not isinstance(network, nn.Module):
        return network.apply(variables, *args, **extra)
    inner, keys = nnx_class(network), keywords.get("keys")
    if inner is not None:
        network = network.clone(nnx_class=functools.partial(_in_mode, inner, keywords["train"]))
    if keys is not None:
        bases = [keys, jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)]
        extra["rngs"] = {name: per_sample_key(base) for name, base in zip(_STREAMS, bases, strict=True)}
    with _explained(network, sampling=keys is None):
        return network.apply(variables, *args, **extra)


@contextlib.contextmanager
def _explained(network: Network, sampling: bool) -> Iterator[None]:
    """Turns Flax's errors about random streams and traced keywords into a sentence that says what to do."""
    try:
        yield
    except InvalidRngError as error:
        if sampling:
            advice = "it draws from a random stream, and has none without keys: give the sampler a key"
        else:
            advice = (
                f"its random streams are {' and '.join(_STREAMS)}: use one of these names (inside nn.scan and "
                "nn.vmap list it in split_rngs), or draw from `keys`, one key a sample"
            )
        raise ValueError(f"{name_of(network)}: {advice}") from error
    except TracerBoolConversionError as error:
        if "kwargs['" not in str(error):
            raise
        raise ValueError(
            f"{name_of(network)}: nn.remat and nn.jit trace the keywords of the network that they wrap, such as "
            "`train`: wrap modules inside it instead, or give nn.jit static_argnames"
        ) from error


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
            f"{name_of(network)} has spectral norm, but no `refresh` for "
            "its power iteration: derive it from gan_jax.models.layers.SpectralNormed, or give it "
            "refresh(variables) -> variables"
        )
    return dict(model_state)
