"""`gan-jax explore`: looks at a run in the browser."""

import argparse

from .arguments import add_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--port", type=int, default=7860, help="the port of the page; 0 for a free one (7860)")
    parser.add_argument(
        "--host", default="127.0.0.1",
        help="the address of the page; others can open it at another one than 127.0.0.1, and need the token",
    )  # fmt: skip
    parser.add_argument(
        "--token", nargs="?", const="", metavar="TOKEN",
        help="what a person must know to open the page; without a value one is made and printed",
    )  # fmt: skip
    parser.add_argument(
        "--directions", metavar="NAME",
        help="the directions that are shown first: sefa, pca, classes, or a name that the workdir keeps (sefa)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    from ..explorer.serve import Address, choose_token, serve

    token = choose_token(arguments.host, arguments.token)
    serve(
        arguments.workdir,
        Address(arguments.host, arguments.port, token),
        step=arguments.step,
        directions=arguments.directions,
        allow=arguments.allow,
    )
