"""The adapter for plain functions."""

import dataclasses
from collections.abc import Callable

from ..types import PyTree


@dataclasses.dataclass(frozen=True)
class Functions:
    """A network of two functions; see `from_functions`."""

    init: Callable[..., PyTree]
    apply: Callable[..., PyTree]
    statistics: tuple[str, ...] = ("batch_stats",)


def from_functions(
    init: Callable[..., PyTree], apply: Callable[..., PyTree], statistics: tuple[str, ...] = ("batch_stats",)
) -> Functions:
    """Returns a network of two functions.

        def init(key, x):
            return {"params": {"kernel": 0.1 * jax.random.normal(key, (x.shape[-1], 64))}}

        def apply(variables, x):
            return jnp.tanh(x @ variables["params"]["kernel"]).reshape(-1, 8, 8, 1)

        generator = networks.from_functions(init, apply)

    Each function names the keywords that it wants (see `Network`): `keys` for dropout, one key for each sample;
    `axis_name` for batch norm over the global batch; `mutable`, with which `apply` returns `(output, changed)`.

    Args:
        init: `(key, *example inputs) -> variables`, a mapping with `"params"`.
        apply: `(variables, *inputs) -> output`.
        statistics: names of the collections of batch statistics.

    Raises:
        TypeError: `init` or `apply` is not a function.
    """
    for name, function in (("init", init), ("apply", apply)):
        if not callable(function):
            raise TypeError(f"from_functions: {name} must be a function, got {type(function).__name__}")
    return Functions(init, apply, statistics)
