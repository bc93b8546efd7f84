"""`gan-jax evaluate`: measures the quality of a run's samples."""

import argparse

from .arguments import add_data, add_latents, add_run, call, words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--metrics", type=words, default=("frechet",), metavar="NAME,...",
        help="frechet, kernel, kernel_full, inception_score, prdc, modes (frechet)",
    )  # fmt: skip
    parser.add_argument(
        "--features", type=call, metavar="NAME[:key=value,...]",
        help="inception, efficientnet_lite0 or classifier; the config's if not given",
    )  # fmt: skip
    parser.add_argument("--count", type=int, default=10_000, help="the number of generated samples (10000)")
    parser.add_argument(
        "--reference", type=int, default=0, help="the number of real samples; all of them if not given"
    )
    parser.add_argument("--split", help="the split of the data to compare with; the config's if not given")
    add_data(parser)
    add_latents(parser)
    parser.add_argument(
        "--standing", type=int, default=0, metavar="BATCHES",
        help="measure the statistics of batch norm again over this many batches; 0 for those of the training (0)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    from ..metrics.table import table
    from .evaluate_run import evaluate

    records = evaluate(
        arguments.workdir, metrics=arguments.metrics, features=arguments.features, count=arguments.count,
        reference=arguments.reference, split=arguments.split, data=arguments.data, seed=arguments.seed,
        step=arguments.step, truncation=arguments.truncation, standing=arguments.standing, allow=arguments.allow,
    )  # fmt: skip
    print(table(records))
