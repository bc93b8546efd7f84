"""How exact float32 products are: what `Config.tf32` means on each platform."""

import functools
from collections.abc import Callable
from typing import TypeVar

import jax

from ..config import Config

Function = TypeVar("Function", bound=Callable)


def asked(config: Config, platform: str) -> str | None:
    """The precision to ask of float32 products, or None to leave it to the platform.

    A CPU computes them in full anyway; there nothing is asked, and the program stays as it is.
    """
    return None if config.tf32 or platform == "cpu" else "highest"


def default() -> str:
    """What `jax_default_matmul_precision` says; "default" is the platform's own choice."""
    return jax.config.jax_default_matmul_precision or "default"  # pyright: ignore[reportAttributeAccessIssue]


def traced_with(precision: str | None, function: Function) -> Function:
    """`function`, whose float32 products are traced with this precision, those of its derivatives too."""
    if precision is None:
        return function

    @functools.wraps(function)
    def run(*arguments, **keywords):
        with jax.default_matmul_precision(precision):
            return function(*arguments, **keywords)

    return run  # type: ignore[return-value]
