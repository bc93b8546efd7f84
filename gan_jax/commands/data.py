"""`gan-jax data`: says what a set of images has, and which config fields follow from it."""

import argparse
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, one_line
from .arguments import path as output

if TYPE_CHECKING:
    import numpy as np

    from ..data.source import Source

_GRID = 64  # images in the grid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .open_set import SETS

    parser.add_argument("data", metavar="PATH", help=SETS)
    parser.add_argument(
        "--grid", type=output, metavar="FILE.png", help="where a grid of some images goes (data_<name>.png)"
    )


def run(arguments: argparse.Namespace) -> None:
    for line in look(arguments.data, arguments.grid):
        print(line)


def look(text: str, grid: Path | None = None) -> Iterator[str]:
    """Yields lines on a set of images, and writes a grid of some of them.

    Args:
        text: the set, as `gan-jax compare` takes it.
        grid: where the grid goes, a .png file; None: `data_<name>.png` in the current folder.

    Raises:
        UserError: there is no such set, it cannot be used, or the grid cannot be written.
    """
    from ..data.containers import open_container
    from ..data.parquet_splits import is_parquet
    from ..data.read_images import check_images
    from ..data.source import expand_path
    from ..data.survey import describe, survey

    path = expand_path(text)
    if grid is not None and grid.suffix != ".png":
        raise UserError(f"--grid writes a .png file, not {one_line(grid)}: give another name")
    is_files = (path.is_dir() and not is_parquet(path)) or path.suffix.lower() == ".zip"
    if is_files:
        found = survey(open_container(path))
        if not found.images.broken:
            check_images(found.container, found.images)
        yield from describe(found)
        if found.images.broken:
            return
        size, values = found.size(), found.range()
        options = {} if size is None else {"size": str(size)}
        options |= {} if values is None else {"range": f"{values[0]:g},{values[1]:g}"}
        yield from _follow("folder", text, options, found.class_names is not None)
        text = str(path)
    else:
        size = None
    source = _open(text, size)
    if not is_files:
        yield from _describe(source)
    yield f"grid: {_write(source, grid or Path(f'data_{_name(text, path)}.png'))}"


def _open(text: str, size: object) -> "Source":
    from .open_set import open_set

    return open_set(text, None if size is None else str(size), labels=True)


def _name(text: str, path: Path) -> str:
    if "=" in text and not path.exists():  # a data source with its options
        return one_line(text.partition(":")[0])
    return one_line(path.resolve().stem).replace(" ", "_") or "set"


def _describe(source: "Source") -> Iterator[str]:
    from ..data.classes import class_counts, describe_data, odd_classes
    from ..data.source import Mirrored, class_names, notes

    names, counts = class_names(source), class_counts(source)
    yield describe_data(tuple(source.shape), len(source), names, counts, isinstance(source, Mirrored))
    yield from notes(source)
    yield from odd_classes(names, counts)


def _follow(name: str, path: str, options: Mapping[str, str], labels: bool) -> Iterator[str]:
    """Yields the config fields that train on a set."""
    fields = {"data.source": name, "data.source.path": path}
    fields |= {f"data.source.{key}": value for key, value in options.items()}
    fields |= {"conditional": "true"} if labels else {}
    yield "config: " + " ".join(shlex.quote(f"{key}={value}") for key, value in fields.items())


def _write(source: "Source", path: Path) -> Path:
    from .. import report

    try:
        report.save_png(path, report.picture(_some(source)))
    except OSError as error:
        raise UserError(f"can't write to {one_line(path)} ({error.strerror}): give another --grid") from error
    return path


def _some(source: "Source") -> "np.ndarray":
    import numpy as np

    rows = np.unique(np.linspace(0, len(source) - 1, min(_GRID, len(source))).round().astype(int))
    return source.read(rows)["image"]
