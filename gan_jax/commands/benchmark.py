"""`gan-jax benchmark`: measures steps per second on this machine, beside other libraries.

The suite is searched for: a wheel has it inside the package, a clone beside it, and an entry point could name only
one of these places.
"""

import argparse
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from ..errors import UserError
from .arguments import path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--suite", choices=("quick", "full"), default="quick", help="what is measured (quick)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PART",
        help="a part of the suite, such as peers or modes; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--case", action="append", default=[], metavar="CASE",
        help="a pair of networks, such as dcgan32; may be repeated",
    )  # fmt: skip
    parser.add_argument("--batch", type=int, default=0, help="the batch of every case; its own if not given")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="", help="one precision; both if not given"
    )
    parser.add_argument("--rounds", type=int, default=0, help="timed samples of each program, at least 5")
    parser.add_argument("--json", type=path, help="append the figures to this file, one JSON object a line")
    parser.add_argument("--plots", type=path, help="write a chart of each part into this folder")


def run(arguments: argparse.Namespace) -> None:
    try:
        _suite().benchmark(
            arguments.suite, json=arguments.json, plots=arguments.plots, only=arguments.only, cases=arguments.case,
            rounds=arguments.rounds, batch=arguments.batch, precision=arguments.precision,
        )  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from error


def _suite() -> ModuleType:
    """Imports the suite: `gan_jax.benchmarks` in a wheel, the `benchmarks` beside the package in a clone."""
    package = Path(__file__).parents[1]
    for name, folder in (("gan_jax.benchmarks", package), ("benchmarks", package.parent)):
        found = importlib.util.find_spec(name)
        # Another project's `benchmarks` may come first on the path.
        if found is not None and found.origin == str(folder / "benchmarks" / "__init__.py"):
            return importlib.import_module(f"{name}.command")
    raise UserError("this installation has no benchmark suite: run it in a clone, as python -m benchmarks")
