"""Finds the loggers that `log` names, and says before training which package is missing."""

import importlib.util
from collections.abc import Callable

from ...config import Config, resolve
from ...config.build import Allow
from ...errors import UserError
from .protocol import RunLogger

HOME = "gan_jax.report.loggers"


def logger_names(config: Config) -> tuple[str, ...]:
    """Returns the names of the loggers of a run, each once."""
    first = ("tensorboard",) if config.log.tensorboard else ()
    return tuple(dict.fromkeys((*first, *config.log.to)))


def find_loggers(config: Config, allow: Allow = None) -> dict[str, Callable[[], RunLogger]]:
    """Returns the loggers of a run by name, each as a class that makes it. No package of a store is imported.

    Raises:
        UserError: there is no such logger, or it is not allowed, or its package is not installed.
    """
    return {name: find(name, allow) for name in logger_names(config)}


def find(name: str, allow: Allow = None) -> Callable[[], RunLogger]:
    """Returns the logger of a name, as `find_loggers` does."""
    try:
        found = resolve(name, HOME, "Logger", allow=allow)
    except UserError as error:
        raise UserError(f"log.to={name}: {error}") from error
    package = package_of(found)
    if package and importlib.util.find_spec(package) is None:
        raise UserError(
            f"log.to={name} needs the package {package}, which is not installed: pip install 'gan_jax[{name}]'"
        )
    return found


def package_of(logger: Callable[[], RunLogger]) -> str | None:
    """Returns the large package that a logger imports; None if it has none."""
    return getattr(logger, "package", None)
