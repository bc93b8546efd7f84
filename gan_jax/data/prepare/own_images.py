"""Writes an array_record set of your own images: a folder, a zip file, or parquet files of Hugging Face."""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from ...errors import UserError, one_line, quoted
from .. import tfds_layout as layout
from ..containers import Container, open_container
from ..decode import ORIENTATION, flatten, open_image, quiet_pillow, upright_image
from ..folder import read_folder
from ..image_set import Layout, natural, splits_of
from ..images import Crop, Filter, Size, Transform
from ..parquet_files import ParquetContainer
from ..parquet_splits import is_parquet
from ..read_images import Images, check_images, read_images
from ..source import expand_path, hash_parts, reason
from .array_record_set import Split, write_set

if TYPE_CHECKING:
    from PIL import Image

Format = Literal["png", "jpeg", "keep"]
SHARD_SIZE = 2000
_WRITER = 1  # raised by every change of the bytes that are written


def prepare_images(
    path: str,
    name: str,
    *,
    data_dir: str | None = None,
    size: Size | None = None,
    crop: Crop = "center",
    filter: Filter = "lanczos",
    format: Format | None = None,
    labels: bool = True,
    shard_size: int = SHARD_SIZE,
    report: Callable[[str], None] = print,
) -> Path:
    """Writes the images of `path` as the set `name` in the layout of TFDS, and returns its folder NAME/1.0.0.

    The source `tfds` reads it, and so does `tensorflow_datasets.builder_from_directory`. All splits of the folder
    or of the parquet files are written. The images of a folder are stored in the order of a hash of their content,
    so that a slice such as `train[:90%]` has images of all classes; rows of parquet files keep their order.

    Args:
        size, crop, filter: see `images.Transform`. Without a size, images keep theirs.
        format: "png" is lossless, "jpeg" has quality 95, and "keep" stores the files as they are, without a size.
            By default png with a size, and else keep. TFDS ignores EXIF orientation and reads only PNG and JPEG in
            grey or RGB, so "keep" stores other files as upright PNG.
        labels: False ignores the classes.
        shard_size: images in a shard. A write that is killed goes on after the last whole shard.
        report: is called with each line to say.

    Raises:
        UserError: something cannot be read or written.
    """
    _check(name, size, format, shard_size)
    transform = Transform(size, crop, filter)
    format = format or ("keep" if size is None else "png")
    quiet_pillow()
    parts = _read(expand_path(path), transform, labels)
    for line in dict.fromkeys(line for part in parts for line in part.layout.notes):
        report(line)
    classes = _classes(parts)
    channels = 1 if all(known.grey for part in parts for known in part.images.facts) else 3
    splits = [_split(part, classes, transform, channels, format) for part in parts]
    plan = {
        "writer": _WRITER, "format": format, "size": transform.sides, "resize": transform.describe(),
        "shard_size": shard_size, "classes": classes, "channels": channels,
        "splits": {part.name: _identity(part) for part in parts},
    }  # fmt: skip
    features = _features(parts, classes, transform, channels, format)
    return write_set(layout.data_folder(data_dir), name, features, splits, plan, shard_size, report)


class _Part(NamedTuple):
    """The images of a split."""

    name: str
    container: Container
    layout: Layout
    images: Images
    order: Sequence[int]  # in which they are stored


def _check(name: str, size: Size | None, format: str | None, shard_size: int) -> None:
    if not re.fullmatch(r"[A-Za-z]\w{0,99}", name, re.ASCII):
        raise UserError(
            f"{quoted(name)} is no name of a TFDS set: begin with a letter, then letters, digits and _"
        )
    if format not in (None, *get_args(Format)):
        raise UserError(f"format must be one of {', '.join(get_args(Format))}, not {quoted(format)}")
    if format == "keep" and size is not None:
        raise UserError("format keep stores the files as they are: leave out the size, or choose png or jpeg")
    if shard_size < 1:
        raise UserError(f"a shard must have at least 1 image, not {shard_size}")


def _read(path: Path, transform: Transform, labels: bool) -> list[_Part]:
    """Reads what is at a path; one part for each split."""
    if is_parquet(path):
        return _read_parquet(path, transform, labels)
    container = open_container(path)
    parts = []
    for split in splits_of(container.names()) or [None]:
        of_split, images = read_folder(container, labels, split, transform, keep=transform.size is not None)
        # Not in the order of the classes: a slice of the set should have images of all.
        order = sorted(range(len(images.names)), key=lambda row: images.facts[row].digest)
        parts.append(_Part(split or "train", container, of_split, images, order))
    return parts


def _read_parquet(path: Path, transform: Transform, labels: bool) -> list[_Part]:
    parts, label_key = [], "label" if labels else ""
    splits = ParquetContainer(path, "all", "image", label_key).splits
    for split in splits:
        container = ParquetContainer(path, split, "image", label_key)
        names, found = container.names(), container.labels
        images = read_images(
            container, names, transform, decode=True, keep=transform.size is not None, all_images=True
        )
        check_images(container, images)
        notes: list[str] = []
        if found is not None:
            notes += found.notes
            if len(names) > 1 and len(set(found.label)) > 1 and (np.diff(found.label) >= 0).all():
                notes.append(
                    f"note: the rows of split {one_line(split)} are sorted by class and keep their order, so a "
                    f"slice such as {one_line(split)}[:90%] lacks classes"
                )
        of_split = Layout(names, found and found.label, found and found.class_names, notes)
        parts.append(_Part(re.sub(r"\W", "_", split), container, of_split, images, range(len(names))))
    return parts


def _classes(parts: list[_Part]) -> tuple[str, ...] | None:
    """Returns the classes of all splits."""
    of_parts = [part.layout.class_names for part in parts]
    lacking = [part.name for part, names in zip(parts, of_parts) if names is None]
    if len(lacking) == len(parts):
        return None
    if lacking:
        raise UserError(f"split '{one_line(lacking[0])}' has no classes, but others have: pass --no-labels")
    if len(set(of_parts)) == 1:
        return of_parts[0]
    return tuple(sorted({name for names in of_parts for name in names or ()}, key=natural))


def _identity(part: _Part) -> str:
    """Returns a hash of the images and labels of a split in their order."""
    label = part.layout.label
    numbers = b"" if label is None else np.ascontiguousarray(label).tobytes()
    return hash_parts([*(part.images.facts[row].digest for row in part.order), numbers], 16)


def _split(
    part: _Part, classes: tuple[str, ...] | None, transform: Transform, channels: int, format: Format
) -> Split:
    numbers = None
    if classes is not None and part.layout.label is not None and part.layout.class_names is not None:
        number = {name: index for index, name in enumerate(classes)}
        numbers = np.array([number[name] for name in part.layout.class_names])[part.layout.label]

    def example(position: int) -> dict[str, object]:
        row = part.order[position]
        try:
            encoded = _encode(part, row, transform, channels, format)
        except Exception as error:  # Pillow's decoders may raise any exception
            shown = one_line(part.container.path.joinpath(*part.images.names[row]))
            raise UserError(f"'{shown}' cannot be read: {reason(error)}") from error
        return {"image": encoded} if numbers is None else {"image": encoded, "label": int(numbers[row])}

    return Split(part.name, len(part.order), example)


def _encode(part: _Part, row: int, transform: Transform, channels: int, format: Format) -> bytes:
    from PIL import Image

    if format == "keep":
        return _keep(part.container.read(part.images.names[row]), channels)
    if part.images.pixels is None:
        with open_image(part.container.open(part.images.names[row])) as image:
            pixels = transform.apply(image, channels)
    else:
        pixels = part.images.pixels[row]
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], channels))
    return _save(Image.fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels)), format)


def _keep(content: bytes, channels: int) -> bytes:
    """Returns the file itself if TFDS decodes it to the same pixels as this package, else an upright PNG file."""
    with open_image(io.BytesIO(content)) as image:
        plain = image.mode == ("L" if channels == 1 else "RGB") and image.format in ("PNG", "JPEG")
        if plain and not image.has_transparency_data and image.getexif().get(ORIENTATION, 1) == 1:
            return content
        return _save(flatten(upright_image(image), channels), "png")


def _save(image: "Image.Image", format: Literal["png", "jpeg"]) -> bytes:
    buffer = io.BytesIO()
    options = {"quality": 95, "subsampling": "4:4:4"} if format == "jpeg" else {}
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _features(
    parts: list[_Part], classes: tuple[str, ...] | None, transform: Transform, channels: int, format: Format
):
    import tensorflow_datasets

    found = {(known.height, known.width) for part in parts for known in part.images.facts}
    sides = transform.sides or (found.pop() if len(found) == 1 else (None, None))
    encoding = None if format == "keep" else format
    image = tensorflow_datasets.features.Image(shape=(*sides, channels), encoding_format=encoding)
    if classes is None:
        return tensorflow_datasets.features.FeaturesDict({"image": image})
    label = tensorflow_datasets.features.ClassLabel(names=list(classes))
    return tensorflow_datasets.features.FeaturesDict({"image": image, "label": label})
