"""Opens a set of images that a command line names: a folder, a file, or a data source."""

import re
from typing import TYPE_CHECKING

from ..errors import UserError, one_line, quoted
from .arguments import call

if TYPE_CHECKING:
    from ..config import Call
    from ..data.source import Source

_TFDS = re.compile(r"tfds:(?P<name>[^:=]+(:[\d.*]+)?)(:(?P<split>[^=]+))?")  # mnist, mnist:3.0.1, mnist:train[:9]
SETS = (
    "a folder or a zip of images, an .npz file, parquet files, tfds:NAME[:SPLIT], or a data source such as digits"
)


def open_set(text: str, size: str | None = None, labels: bool = False) -> "Source":
    """Returns the source of the images that `text` names; the texts that `SETS` describes.

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
    from ..data.parquet_splits import is_parquet
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
    if path.exists() and is_parquet(path):
        return Call("parquet", path=text, **resized, **({} if labels else {"label_key": ""}))
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
    raise UserError(f"there is nothing at {quoted(text)}: give {SETS}")


def _side(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
