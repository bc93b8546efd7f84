"""`gan-jax card`: writes a model card, and a folder for a repository of models."""

import argparse
import sys

from .arguments import add_run, path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--out", type=path, metavar="FOLDER", help="the folder; card in the workdir if not given")
    parser.add_argument("--license", metavar="NAME", help="the licence of the weights, such as apache-2.0")
    parser.add_argument("--count", type=int, default=64, help="the number of samples in the grid (64)")
    parser.add_argument(
        "--push", metavar="NAME/NAME", help="upload the folder to this repository of the Hugging Face Hub"
    )
    parser.add_argument("--private", action="store_true", help="with --push: only you see a new repository")


def run(arguments: argparse.Namespace) -> None:
    from ..errors import UserError
    from ..exchange.card import write_card
    from ..exchange.hub import check_repo, push

    if arguments.private and arguments.push is None:
        raise UserError("--private is for --push NAME/NAME: add it, or leave --private out")
    if arguments.push is not None:
        check_repo(arguments.push)  # before anything is written
    folder = write_card(
        arguments.workdir, out=arguments.out, step=arguments.step, license=arguments.license,
        count=arguments.count, allow=arguments.allow, say=lambda line: print(line, file=sys.stderr),
    )  # fmt: skip
    print(folder / "README.md")
    if arguments.push is not None:
        print(push(folder, arguments.push, private=arguments.private))
