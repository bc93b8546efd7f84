"""`gan-jax recipes`: lists the recipes."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Train one by its name, such as gan-jax train digits."


def run(arguments: argparse.Namespace) -> None:
    from ..config.recipes import recipes, summary

    found = recipes()
    width = max(map(len, found), default=0)
    for name, path in found.items():
        print(f"{name:{width}}  {summary(path)}")
