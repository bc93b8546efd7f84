"""Reads an image that a person uploads, which may be anything."""

import base64
import io
import warnings

import numpy as np

from ..data.decode import open_image, quiet_pillow
from ..data.images import Transform
from ..errors import UserError, first_line, one_line

MOST_BYTES = 16 * 2**20


def read_upload(name: object, data: object, shape: tuple[int, int, int]) -> np.ndarray:
    """Returns an uploaded image as uint8 of `shape` `[H, W, C]`: its largest centred part, resized.

    Args:
        name: of the file, for messages.
        data: the content of the file as base64.
        shape: of the samples of the run.

    Raises:
        UserError: it is too large, or no image that can be read.
    """
    name = one_line(name, 80) if isinstance(name, str) and name else "the file"
    if not isinstance(data, str) or not data:
        raise UserError(f"{name} is empty, or larger than {MOST_BYTES // 2**20} MiB: choose another image")
    if len(data) > MOST_BYTES * 4 // 3 + 4:
        raise UserError(f"{name} is larger than {MOST_BYTES // 2**20} MiB: choose a smaller image")
    height, width, channels = shape
    kept = channels if channels in (1, 3) else 3
    try:
        content = base64.b64decode(data, validate=True)
        with warnings.catch_warnings():
            quiet_pillow()
            with open_image(io.BytesIO(content)) as image:
                read = Transform(size=(height, width)).apply(image, kept)
    except Exception as error:  # Pillow's decoders may raise any exception for damaged bytes
        raise UserError(
            f"{name} can't be read as an image ({one_line(first_line(error), 200)}): choose another"
        ) from error
    opaque = np.full((*read.shape[:2], channels - kept), 255, np.uint8)
    return np.concatenate([read, opaque], axis=-1)
