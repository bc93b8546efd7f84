"""Reads the images to project: they get the size and the channels of the run's samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..config import Config
from ..data.decode import open_image
from ..data.images import Transform
from ..data.npz_file import load_arrays
from ..errors import UserError, first_line, one_line

_OPTIONS = ("crop", "filter", "range")  # of the run's data source, which are those of the images too


class Targets(NamedTuple):
    """The images of one file.

    Attributes:
        file: that they come from.
        images: uint8 `[n, H, W, C]`, of the shape of the run's samples.
        before: the shape of the first image in the file, `(H, W, C)`.
    """

    file: Path
    images: np.ndarray
    before: tuple[int, ...]


def read_targets(files: Sequence[Path], shape: tuple[int, ...], config: Config) -> list[Targets]:
    """Reads image files and .npz files; images of another size are resized as the run's data were.

    Args:
        files: of the images; an .npz file has an array `image`, `[n, H, W]` or `[n, H, W, C]`, uint8.
        shape: of the run's samples, (H, W, C).
        config: of the run, whose data source says how images are cropped and resized.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    options = {name: value for name, value in config.data.source.kwargs.items() if name in _OPTIONS}
    try:
        transform = Transform((shape[0], shape[1]), **options)
    except (TypeError, UserError):  # a source of the user's own may mean something else by these names
        transform = Transform((shape[0], shape[1]))
    return [_read(file, shape, transform) for file in files]


def _read(file: Path, shape: tuple[int, ...], transform: Transform) -> Targets:
    if file.suffix.lower() == ".npz":
        return _from_arrays(file, shape, transform)
    if file.is_dir():
        raise UserError(f"'{one_line(file)}' is a folder: give its images, as in {one_line(file)}/*.png")
    if not file.is_file():
        raise UserError(f"there is no image '{one_line(file)}'")
    if shape[-1] not in (1, 3):
        raise UserError(f"the run's samples have {shape[-1]} channels: give such images in an .npz file")
    try:
        with open_image(file) as image:
            before = (image.height, image.width, len(image.getbands()))
            pixels = transform.apply(image, shape[-1])
    except Exception as error:  # Pillow's decoders may raise any exception for damaged bytes
        raise UserError(f"'{one_line(file)}' cannot be read as an image: {first_line(error)}") from error
    return Targets(file, pixels[None], before)


def _from_arrays(file: Path, shape: tuple[int, ...], transform: Transform) -> Targets:
    array = load_arrays(file, "image", "")["image"][1]
    array = array[..., None] if array.ndim == 3 else array
    is_one = array.shape[1:] == shape or array.shape[-1] in (1, 3)
    if array.ndim != 4 or array.dtype != np.uint8 or not is_one or not array.size:
        raise UserError(
            f"'{one_line(file)}' has an array of {array.dtype} of shape {array.shape}, and images to project are "
            "uint8 of shape [n, H, W, 1 or 3]"
        )
    if array.shape[1:] == shape:
        return Targets(file, array, shape)
    plain = Transform(transform.size, transform.crop, transform.filter)
    images = np.stack([plain.array(image, shape[-1]) for image in array])
    return Targets(file, images, array.shape[1:])
