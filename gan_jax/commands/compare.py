"""`gan-jax compare`: metrics of two sets of images."""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, one_line, quoted
from .arguments import call, words
from .arguments import path as output

if TYPE_CHECKING:
    from ..config import Call
    from ..data.source import Source
    from ..metrics.record import Record

_TFDS = re.compile(r"tfds:(?P<name>[^:=]+(:[\d.*]+)?)(:(?P<split>[^=]+))?")  # mnist, mnist:3.0.1, mnist:train[:9]
_SETS = "a folder or a zip of images, an .npz file, tfds:NAME[:SPLIT], or a data source as digits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help=f"the set to compare with: {_SETS}")
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
        write_json(arguments.json, records)
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


def open_set(text: str, size: str | None = None, labels: bool = False) -> "Source":
    """Returns the source of the images that `text` names; see `compare`.

    Raises:
        UserError: there is no such set.
    """
    from ..config.build import build

    try:
        return build(_source(text, size, labels), "data.source")
    except UserError as error:
        # What is a field of a config is an option here.
        raise UserError(str(error).replace("data.source.size=", "--size ")) from error


def _source(text: str, size: str | None, labels: bool) -> "Call":
    from ..config import Call, choices
    from ..config.schema import HOMES
    from ..data.source import expand_path

    resized: dict[str, object] = {} if size is None else {"size": _side(size)}
    path = expand_path(text)
    if path.is_dir() and (path / "config.json").is_file() and (path / "checkpoints").is_dir():
        raise UserError(
            f"'{one_line(text)}' is the workdir of a run, no set of images: `gan-jax evaluate` compares its "
            "samples with its data, and `gan-jax sample --out FOLDER` writes samples to compare"
        )
    if path.is_file() and path.suffix.lower() == ".npz":
        return Call("npz", path=text, **resized, **({} if labels else {"label_key": ""}))
    if path.exists():
        return Call("folder", path=text, labels=labels, **resized)
    name, _, rest = text.partition(":")
    if found := _TFDS.fullmatch(text):
        named = {key: value for key, value in found.groupdict().items() if value}
        return Call("tfds", **named, **resized, **({} if labels else {"label_key": ""}))
    home = HOMES["data.source"]
    if name in choices(home.module, home.attribute) or "=" in rest:
        source = call(text)
        return Call(source.name, **{**source.kwargs, **resized})
    raise UserError(f"there is nothing at {quoted(text)}: give {_SETS}")


def _side(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def write_json(path: Path, records: "Sequence[Record]") -> None:
    """Writes a list with an object for each number, and all that the number depends on.

    Raises:
        UserError: the file cannot be written.
    """
    content = json.dumps([record.to_json() for record in records], indent=1, allow_nan=False)
    try:
        path.write_text(content + "\n")
    except OSError as error:
        raise UserError(f"--json: '{one_line(path)}' cannot be written to ({error.strerror})") from error
