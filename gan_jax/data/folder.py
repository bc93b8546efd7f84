"""A source that reads a folder of image files."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ..errors import UserError, one_line
from .images import Channels, Crop, Filter, Transform, flatten, is_grey, open_image, quiet_pillow
from .source import (
    DataMissingError,
    Mirrored,
    Source,
    checked_indices,
    describe_shape,
    expand_path,
    hash_parts,
    reason,
)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
_MAX_LISTED_FILES = 10  # in one error message


def folder(
    path: str,
    labels: bool = True,
    check: Literal["all", "header"] = "all",
    size: int | None = None,
    crop: Crop = "center",
    filter: Filter = "lanczos",
    channels: Channels | None = None,
    mirror: bool = False,
) -> Source:
    """Returns a source of the images under `path`, sorted by name; sizes and modes may be mixed.

    If the images lie in sub-folders, the topmost sub-folder of each image is its class (labels 0, 1, ... in the
    order of the names); `labels=False` ignores the classes. Hidden files are skipped. Transparent images are
    composed on white, EXIF orientation is applied, 16-bit grey is scaled to 8 bits, and of an animation the first
    frame is read. The set is grey if all files are grey. `check="all"` decodes every file once before training;
    "header" reads only the headers. Raises UserError if files cannot be read (it names them), or if the sizes
    differ and `size` is not given.
    """
    root = expand_path(path)
    if not root.is_dir():
        raise DataMissingError(f"there is no folder '{one_line(root)}'")
    transform = Transform(size, crop, filter, channels)
    names = _list_images(root)
    if not names:
        raise UserError(f"there are no images under '{one_line(root)}' (looked for {', '.join(SUFFIXES)})")
    label, classes = _class_labels(root, names) if labels else (None, None)
    quiet_pillow()
    infos = _inspect_all(root, names, check == "all")
    source = Folder(root, names, label, classes, transform, _common_shape(root, names, infos, transform))
    return Mirrored(source) if mirror else source


class Folder:
    """A source of the files `names` under `root`, decoded when they are read; `folder` makes it."""

    def __init__(
        self,
        root: Path,
        names: list[str],
        label: np.ndarray | None,
        classes: int | None,
        transform: Transform,
        shape: tuple[int, int, int],
    ):
        self.root, self.names, self.label, self.classes = root, names, label, classes
        self.shape, self.dtype = shape, np.dtype(np.uint8)
        self._transform = transform
        files = [f"{name} {(root / name).stat().st_size}" for name in names]
        self._content_hash = hash_parts([*files, str(classes)])

    def __len__(self) -> int:
        return len(self.names)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = checked_indices(indices, len(self))
        image = np.empty((len(indices), *self.shape), np.uint8)
        for position, row in enumerate(indices):
            image[position] = self._decode(self.names[row])
        rows = {"image": image}
        if self.label is not None:
            rows["label"] = self.label[indices]
        return rows

    def _decode(self, name: str) -> np.ndarray:
        shown = one_line(self.root / name)
        try:
            with open_image(self.root / name) as image:
                pixels = self._transform.apply(image, self.shape[-1])
        except Exception as error:  # Pillow's decoders may raise any exception
            raise UserError(f"'{shown}' cannot be read: {reason(error)}") from error
        if pixels.shape != self.shape:
            now, before = describe_shape(pixels.shape), describe_shape(self.shape)
            raise UserError(f"'{shown}' is {now} now, but was {before}: do not change files during a run")
        return pixels

    def fingerprint(self) -> str:
        words = ["folder", f"n={len(self)}", describe_shape(self.shape)]
        return " ".join([*words, self._transform.describe_resize(), f"#{self._content_hash}"])


def _list_images(root: Path) -> list[str]:
    """Returns the paths relative to `root`, with "/" as separator, sorted part by part, without hidden ones."""
    found: list[tuple[str, ...]] = []
    ancestors: dict[str, tuple[str, ...]] = {str(root): (os.path.realpath(root),)}
    for parent, folders, files in os.walk(root, followlinks=True):
        parent_ancestors = ancestors.pop(parent)
        to_visit = []
        for name in folders:
            real = os.path.realpath(os.path.join(parent, name))
            # A link to a folder that contains the link would be followed for ever.
            if not name.startswith(".") and real not in parent_ancestors:
                to_visit.append(name)
                ancestors[os.path.join(parent, name)] = (*parent_ancestors, real)
        folders[:] = to_visit
        parts = Path(parent).relative_to(root).parts
        found += [(*parts, name) for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return ["/".join(parts) for parts in sorted(found)]


def _class_labels(root: Path, names: list[str]) -> tuple[np.ndarray | None, int | None]:
    """Returns int32 [N] labels and the number of classes; None and None if there are no sub-folders."""
    top_folders = [name.split("/")[0] if "/" in name else None for name in names]
    classes = sorted({top for top in top_folders if top is not None})
    if not classes:
        return None, None
    if None in top_folders:
        root_file, sub_folder = one_line(names[top_folders.index(None)]), one_line(classes[0])
        raise UserError(
            f"'{one_line(root)}' holds images itself ('{root_file}') and in sub-folders ('{sub_folder}'): "
            "put all images into sub-folders, one for each class, or pass data.source.labels=false"
        )
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number[top] for top in top_folders if top is not None], np.int32), len(classes)


class _ImageInfo(NamedTuple):
    width: int
    height: int
    grey: bool


def _inspect_all(root: Path, names: list[str], decode: bool) -> list[_ImageInfo]:
    def inspect(name: str) -> _ImageInfo | str:
        try:
            return _inspect(root / name, decode)
        except Exception as error:  # Pillow's decoders may raise any exception
            return f"{one_line(name)} ({reason(error)})"

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        results = list(pool.map(inspect, names))
    infos = [result for result in results if isinstance(result, _ImageInfo)]
    unreadable = [result for result in results if isinstance(result, str)]
    if unreadable:
        rest = len(unreadable) - _MAX_LISTED_FILES
        listed = ", ".join(unreadable[:_MAX_LISTED_FILES]) + (f", and {rest} more" if rest > 0 else "")
        raise UserError(
            f"{len(unreadable)} of the {len(names)} images under '{one_line(root)}' cannot be read: {listed}; "
            "remove or replace them"
        )
    return infos


def _inspect(file: Path, decode: bool) -> _ImageInfo:
    from PIL import ExifTags

    with open_image(file) as image:
        grey = is_grey(image)
        if decode:
            image.load()
            flat = flatten(image, 1 if grey else 3)
            return _ImageInfo(flat.width, flat.height, grey)
        sideways = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        width, height = (image.height, image.width) if sideways else image.size
        return _ImageInfo(width, height, grey)


def _common_shape(
    root: Path, names: list[str], infos: list[_ImageInfo], transform: Transform
) -> tuple[int, int, int]:
    first = infos[0]
    if transform.size is None:
        for name, other in zip(names, infos):
            if (other.width, other.height) != (first.width, first.height):
                raise UserError(
                    f"the images under '{one_line(root)}' differ in size: '{one_line(names[0])}' is "
                    f"{first.width}x{first.height}, '{one_line(name)}' is {other.width}x{other.height}; "
                    "pass data.source.size=N to make them all N x N"
                )
    return transform.shape(first.height, first.width, 1 if all(info.grey for info in infos) else 3)
