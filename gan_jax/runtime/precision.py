"""The precision of float32 products: what `Config.tf32` means on each platform."""

import functools
from collections.abc import Callable
from typing import TypeVar

import jax

from ..config import Config

Function = TypeVar("Function", bound=Callable)


def matmul_precision(config: Config, platform: str) -> str | None:
    """Returns the precision of float32 products, or None for the platform's default.

    A CPU always computes them in full, so its program stays the same either way.
    """
    return None if config.tf32 or platform == "cpu" else "highest"


def default() -> str:
    """Returns `jax_default_matmul_precision`; "default" means that the platform chooses."""
    return jax.config.jax_default_matmul_precision or "default"  # pyright: ignore[reportAttributeAccessIssue]


def traced_with(precision: str | None, function: Function) -> Function:
    """Returns `function`, traced with this precision of float32 products, also in its derivatives."""
    if precision is None:
        return function

    @functools.wraps(function)
    def run(*arguments, **keywords):
        with jax.default_matmul_precision(precision):
            return function(*arguments, **keywords)

    return run  # type: ignore[return-value]
