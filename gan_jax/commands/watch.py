"""`gan-jax watch`: shows a run while it trains."""

import argparse

from .arguments import path

PORT = 8017


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", type=path, help="the folder of the run; it need not be there yet")
    parser.add_argument(
        "--browser", action="store_true", help="serve the page of the run on 127.0.0.1, instead of the terminal"
    )
    parser.add_argument(
        "--port", type=int, help=f"with --browser: the port ({PORT}, or any that is free if that is taken)"
    )
    parser.add_argument("--once", action="store_true", help="show the run as it is now, and end")


def run(arguments: argparse.Namespace) -> int:
    from . import watch_run

    if arguments.browser:
        return watch_run.serve(arguments.workdir, arguments.port, arguments.once, PORT)
    return watch_run.show(arguments.workdir, arguments.port, arguments.once)
