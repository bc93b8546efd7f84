"""Arguments that several commands share, and the types of arguments."""

import argparse
import csv
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, is_plain, quoted

if TYPE_CHECKING:
    from ..config import Call


def add_run(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that choose a run and one of its checkpoints."""
    parser.add_argument("workdir", type=path, help="the folder of the run")
    parser.add_argument(
        "--step", help="the step of the checkpoint, or best; the newest good checkpoint if not given"
    )
    parser.add_argument(
        "--allow", action="append", default=[], metavar="PACKAGE",
        help="import functions that the run's config names from this package too; may be repeated",
    )  # fmt: skip


def add_latents(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that choose the latents."""
    parser.add_argument("--seed", type=int, default=0, help="the seed of the latents (0)")
    parser.add_argument(
        "--truncation", type=float, default=1.0, help="the truncation of the latents; 1.0 for none (1.0)"
    )


def path(text: str) -> Path:
    """Reads a path that is written to, or printed.

    Raises:
        UserError: it is empty, or it cannot be printed on one line or kept in a JSON file.
    """
    if not text:
        raise UserError("a path on the command line is empty: give one, such as runs/digits, or . for this folder")
    whole = os.path.abspath(text)
    if any("\ud800" <= character <= "\udfff" for character in whole):  # a byte that Python can't decode
        raise UserError(f"the path {quoted(whole)} is not UTF-8: choose another name, or a locale of UTF-8")
    if not is_plain(whole):
        raise UserError(f"the path {quoted(whole)} has a line break or a control character: choose another name")
    return Path(text)


def seconds(text: str) -> float:
    """Reads a duration, such as `90`, `90s`, `55m` or `8h`."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    try:
        duration = float(text[:-1] if unit else text) * (unit or 1)
    except ValueError:
        duration = math.nan
    if not 0 <= duration < math.inf:
        raise argparse.ArgumentTypeError(f"wants a time such as 90s, 55m or 8h, got {text!r}")
    return duration


def names(text: str) -> tuple[str, ...]:
    """Reads names that commas separate. A name with a comma stands in double quotes, as in a CSV file."""
    try:
        return tuple(part.strip() for part in next(csv.reader([text], skipinitialspace=True)))
    except csv.Error as error:
        raise argparse.ArgumentTypeError(f"wants names such as cat,dog, got {text!r} ({error})") from None


def words(text: str) -> tuple[str, ...]:
    """Reads words that commas separate."""
    return tuple(text.split(","))


def call(text: str) -> "Call":
    """Reads `name` or `name:key=value,key=value`, where the name may be `module:function`."""
    from ..config import Call
    from ..config.values import literal

    name, _, rest = text.rpartition(":") if "=" in text.rpartition(":")[2] else (text, "", "")
    pairs = [part.partition("=") for part in rest.split(",") if part]
    if not all(key and equals for key, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"wants NAME or NAME:key=value,key=value, got {text!r}")
    return Call(name, **{key.strip(): literal(value) for key, _, value in pairs})
