"""What `gan-jax init --data PATH` writes into a config: which source, size, batch and classes suit the data."""

import os
from pathlib import Path
from typing import NamedTuple

from ..config import Call, Config, Data
from ..config.build import make_source
from ..data.classes import class_counts, describe_data
from ..data.source import Source, class_names
from ..errors import UserError, one_line

SIZE, BATCH = 64, 64  # the most that a config begins with
_LEAST_SIZE = 8


class Suited(NamedTuple):
    """The fields of a config for some data.

    Attributes:
        source: the name of the source in `gan_jax.data`.
        size: of the images, in pixels.
        batch: images in a step.
        conditional: whether there are classes.
        described: a line about the data.
    """

    source: str
    size: int
    batch: int
    conditional: bool
    described: str


def suited(path: str | os.PathLike) -> Suited:
    """Looks at the data at `path`: a folder or zip file of images, an .npz file, or parquet files.

    Raises:
        UserError: there are no such data, or they cannot be used.
    """
    name = _kind(Path(path).expanduser())
    source = _open(name, str(path))
    if len(source.shape) != 3:
        raise UserError(
            f"'{one_line(path)}' holds vectors, and this config is for images: `gan-jax train gaussians "
            "data.source=npz data.source.path=FILE` trains on vectors"
        )
    least = min(source.shape[:2])
    size = SIZE if least >= SIZE else max(_LEAST_SIZE, 2 ** (least.bit_length() - 1))
    batch = min(BATCH, 2 ** (len(source).bit_length() - 1))
    described = describe_data(source.shape, len(source), class_names(source), class_counts(source))
    return Suited(name, size, batch, (source.classes or 0) > 1, described)


def _open(name: str, path: str) -> Source:
    """Opens the data at their own size; at `SIZE` where the sizes are mixed."""
    check = {"check": "header"} if name == "folder" else {}

    def opened(**size: int) -> Source:
        return make_source(Config(name="init", data=Data(source=Call(name, path=path, **check, **size))))

    try:
        return opened()
    except UserError:
        return opened(size=SIZE)


def _kind(path: Path) -> str:
    shown, suffix = one_line(path), path.suffix.lower()
    if path.is_dir():
        return "parquet" if any(path.glob("*.parquet")) else "folder"
    if not path.exists():
        raise UserError(f"there is no '{shown}': give --data a folder of images, or a .zip, .npz or .parquet file")
    kind = {".zip": "folder", ".npz": "npz", ".parquet": "parquet"}.get(suffix)
    if suffix == ".npy":
        file = one_line(path.name)
        raise UserError(
            f"'{shown}' is a single array without a name: save it in an .npz file, np.savez('{file[:-4]}.npz', "
            f"image=np.load('{file}'))"
        )
    if kind is None:
        raise UserError(
            f"'{shown}' is no folder: give --data a folder of images, or a .zip, .npz or .parquet file"
        )
    return kind
