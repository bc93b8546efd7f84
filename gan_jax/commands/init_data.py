"""What `gan-jax init --data PATH` writes into a config: which source, size, batch and classes suit the data."""

import os
from pathlib import Path
from typing import NamedTuple

from ..config import Call, Config, Data
from ..config.build import make_source
from ..data.classes import class_counts, describe_data
from ..data.containers import open_container
from ..data.parquet_splits import is_parquet
from ..data.read_images import check_images
from ..data.source import Source, class_names, expand_path
from ..data.survey import suggest_size, survey
from ..errors import UserError, one_line

SIZE, BATCH = 64, 64  # the most that a config begins with


class Suited(NamedTuple):
    """The fields of a config for some data.

    Attributes:
        source: the name of the source in `gan_jax.data`.
        size: of the images, in pixels: a side, or height and width as text.
        range: the values that become black and white; None: those of the file format.
        batch: images in a step.
        conditional: whether there are classes.
        described: a line about the data.
    """

    source: str
    size: int | str
    range: tuple[float, float] | None
    batch: int
    conditional: bool
    described: str


def suited(path: str | os.PathLike) -> Suited:
    """Looks at the data at `path`: a folder or zip file of images, an .npz file, or parquet files.

    Raises:
        UserError: there are no such data, or they cannot be used.
    """
    name = _kind(Path(path).expanduser())
    size, range = _folder(expand_path(str(path))) if name == "folder" else (None, None)
    source = _open(name, str(path), size)
    if len(source.shape) != 3:
        raise UserError(
            f"'{one_line(path)}' holds samples of shape {tuple(source.shape)}, and this config is for images: "
            f"begin with the recipe {'gaussians' if len(source.shape) == 1 else 'moving_digits'} and set "
            "data.source=npz data.source.path=FILE"
        )
    if size is None:
        size = suggest_size([source.shape[:2]], SIZE)
    batch = min(BATCH, 2 ** (len(source).bit_length() - 1))
    described = describe_data(source.shape, len(source), class_names(source), class_counts(source))
    return Suited(name, size, range, batch, (source.classes or 0) > 1, described)


def _folder(path: Path) -> tuple[int | str, tuple[float, float] | None]:
    """Returns the size and the range that suit the images of a folder or zip file."""
    found = survey(open_container(path))
    check_images(found.container, found.images)
    sizes = [(known.height, known.width) for known in found.images.facts]
    return suggest_size(sizes, SIZE), found.range()


def _open(name: str, path: str, size: int | str | None) -> Source:
    """Opens the data: a folder at `size`, others at their own size, or at `SIZE` where the sizes are mixed."""

    def opened(**options: object) -> Source:
        return make_source(Config(name="init", data=Data(source=Call(name, path=path, **options))))

    if size is not None:
        return opened(size=size)
    try:
        return opened()
    except UserError:
        return opened(size=SIZE)


def _kind(path: Path) -> str:
    shown, suffix = one_line(path), path.suffix.lower()
    if path.is_dir():
        return "parquet" if is_parquet(path) else "folder"
    if not path.exists():
        raise UserError(f"there is no '{shown}': give --data a folder of images, or a .zip, .npz or .parquet file")
    kind = {".zip": "folder", ".npz": "npz", ".npy": "npz", ".parquet": "parquet"}.get(suffix)
    if kind is None:
        raise UserError(
            f"'{shown}' is no folder: give --data a folder of images, or a .zip, .npz or .parquet file"
        )
    return kind
