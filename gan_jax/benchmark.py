"""Where the benchmark suite is: in a wheel inside this package, in a clone of the repository beside it."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import UserError


def _command() -> ModuleType:
    if importlib.util.find_spec("gan_jax.benchmarks"):
        return importlib.import_module("gan_jax.benchmarks.command")
    found = importlib.util.find_spec("benchmarks")
    beside = Path(__file__).parent.parent / "benchmarks" / "__init__.py"
    if found is None or found.origin is None or Path(found.origin) != beside:  # somebody else's may be there too
        raise UserError("this installation has no benchmark suite: run it in a clone, as python -m benchmarks")
    return importlib.import_module("benchmarks.command")


def run(suite: str, **options: Any) -> None:
    """Run a suite; see `benchmarks.command.benchmark`.

    Raises:
        UserError: no such suite or case, too few rounds, or plots without matplotlib.
    """
    if options.get("rounds") and options["rounds"] < 5:
        raise UserError(f"--rounds={options['rounds']}: a median of fewer than 5 samples says little")
    try:
        _command().benchmark(suite, **options)
    except ValueError as error:
        raise UserError(str(error)) from error
