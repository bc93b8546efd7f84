"""`gan-jax compare`: metrics of two sets of images."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, one_line
from .arguments import call, words
from .arguments import path as output
from .open_set import SETS, open_set

if TYPE_CHECKING:
    from ..config import Call
    from ..metrics.record import Record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help=f"the set to compare with: {SETS}")
    parser.add_argument("b", metavar="B", help="the other set")
    parser.add_argument(
        "--metrics", type=words, default=("frechet", "kernel", "prdc"), metavar="NAME,...",
        help="frechet, kernel, kernel_full, inception_score, prdc, modes (frechet,kernel,prdc)",
    )  # fmt: skip
    parser.add_argument(
        "--features", type=call, metavar="NAME[:key=value,...]",
        help="efficientnet_lite0, inception, or classifier, trained on the labels of A (efficientnet_lite0)",
    )  # fmt: skip
    parser.add_argument("--size", help="resize the images of both sets to this side, or to HxW")
    parser.add_argument(
        "--count", type=int, default=0, help="the largest number of images of each set; all if not given"
    )
    parser.add_argument("--seed", type=int, default=0, help="the seed that chooses --count images (0)")
    parser.add_argument("--json", type=output, metavar="FILE", help="write the numbers there too")


def run(arguments: argparse.Namespace) -> None:
    from ..metrics.table import table

    records = compare(
        arguments.a, arguments.b, metrics=arguments.metrics, features=arguments.features, size=arguments.size,
        count=arguments.count, seed=arguments.seed,
    )  # fmt: skip
    if arguments.json:
        write_json(arguments.json, records, (arguments.a, arguments.b))
    print(table(records, (arguments.a, arguments.b)))


def compare(
    a: str,
    b: str,
    *,
    metrics: Sequence[str] = ("frechet", "kernel", "prdc"),
    features: "Call | None" = None,
    size: str | None = None,
    count: int = 0,
    seed: int = 0,
) -> "list[Record]":
    """Compares two sets of images; see `metrics.compare.compare_sets`.

    Args:
        a, b: a folder, a zip or an .npz file, `tfds:NAME[:SPLIT]`, or `SOURCE[:key=value,...]` of `gan_jax.data`.
        metrics: names in `gan_jax.metrics.measures.MEASURES`.
        features: a name in `gan_jax.metrics.features`; None: efficientnet_lite0.
        size: the side that images are resized to, or "HxW"; None: as they are.
        count: the largest number of images of each set; 0 for all.
        seed: of the choice of these images.

    Raises:
        UserError: a set cannot be read, or cannot be measured.
    """
    from ..config import Call
    from ..metrics.compare import compare_sets
    from ..metrics.features.choose import check_features, make_extractor
    from ..metrics.measures import check_names

    check_names(tuple(metrics))
    features = features or Call("efficientnet_lite0")
    needs_labels = features.name == "classifier" or "modes" in metrics
    sources = open_set(a, size, needs_labels), open_set(b, size, False)
    check_features(features, sources[0])
    return compare_sets(*sources, make_extractor(features, sources[0]), metrics, count=count, seed=seed)


def write_json(path: Path, records: "Sequence[Record]", sets: tuple[str, str]) -> None:
    """Writes a list with an object for each number, all that the number depends on, and what A and B are.

    Raises:
        UserError: the file cannot be written.
    """
    content = json.dumps(
        [{"A": sets[0], "B": sets[1], **record.to_json()} for record in records], indent=1, allow_nan=False
    )
    try:
        path.write_text(content + "\n")
    except OSError as error:
        raise UserError(f"--json: '{one_line(path)}' cannot be written to ({error.strerror})") from error
