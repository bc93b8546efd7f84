"""`gan-jax sweep`: trains a population of runs that differ in some fields of one config."""

import argparse

from .arguments import add_data, path, seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a recipe (see gan-jax recipes), or a Python file with get_config()")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=a,b,c",
        help="values of a field, a member for each, such as discriminator_terms.0.weight=0.3,1,3 or seed=0..3; "
        "several fields: every combination; key=value sets a field of all members",
    )  # fmt: skip
    parser.add_argument(
        "--workdir", type=path, help="the folder of the sweep; runs/<config name>_sweep if not given"
    )
    add_data(parser)
    parser.add_argument(
        "--zip",
        action="store_true",
        help="combine the first values of all fields, then the second ones, and so on",
    )
    parser.add_argument(
        "--members", choices=("vmap", "devices", "processes"),
        help="vmap: all in one program, the same to rounding; devices: a GPU for each, or some cores; processes: "
        "one after another, each the same bits as gan-jax train; if not given, by what differs and by the size",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="with devices and processes: the number of members at a time"
    )
    parser.add_argument(
        "--by", metavar="METRIC",
        help="the number that members are compared by, such as frechet or recall; the first of metrics.names",
    )  # fmt: skip
    parser.add_argument(
        "--halving", metavar="METRIC",
        help="train all a little, let the better ones by METRIC go on, and so on until one is left",
    )  # fmt: skip
    parser.add_argument(
        "--factor", type=int, default=2, metavar="N", help="with --halving: one of N members goes on each time (2)"
    )
    parser.add_argument(
        "--optuna", type=int, metavar="N",
        help="let Optuna choose the values of N members, from ranges such as discriminator_terms.0.weight=0.1..30",
    )  # fmt: skip
    parser.add_argument(
        "--max-time", type=seconds, metavar="55m",
        help="save and stop when the process has run for this long (90s, 55m, 8h)",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="print the members, and the memory of a step, and train nothing"
    )


def run(arguments: argparse.Namespace) -> int:
    from . import sweep_run

    return sweep_run.run(arguments)
