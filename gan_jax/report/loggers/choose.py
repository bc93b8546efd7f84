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
    found = {}
    for name in logger_names(config):
        try:
            found[name] = resolve(name, HOME, "Logger", allow=allow)
        except UserError as error:
            raise UserError(f"log.to={name}: {error}") from error
        package = getattr(found[name], "package", None)
        if package and importlib.util.find_spec(package) is None:
            raise UserError(
                f"log.to={name} needs the package {package}, which is not installed: pip install 'gan_jax[{name}]'"
            )
    return found
