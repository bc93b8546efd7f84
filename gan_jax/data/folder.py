"""A folder of image files."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ..errors import UserError, one_line
from .images import Channels, Crop, Filter, Transform, flatten, is_grey, opened, quiet_pillow
from .source import Mirrored, Source, checked_indices, describe_shape, digest, locate, reason

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
_NAMED_FILES = 10


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
    """The images under `path`, of any mix of sizes and modes, in the order of their names.

    Where the images lie in sub-folders, the top one of each is its class (sorted names are 0, 1, ...);
    `labels=False` ignores this. Hidden files are skipped. Transparency is laid on white, EXIF orientation
    applied, 16-bit grey scaled to 8 bits, the first frame taken; grey files alone make a grey set.
    `check="all"` decodes every file once before training, "header" only opens it. Raises UserError naming the
    files that cannot be read, or where sizes differ and `size` is not given.
    """
    root = locate(path)
    if not root.is_dir():
        raise UserError(f"there is no folder '{one_line(root)}'")
    transform = Transform(size, crop, filter, channels)
    names = _list_images(root)
    if not names:
        raise UserError(f"there are no images under '{one_line(root)}' (looked for {', '.join(SUFFIXES)})")
    label, classes = _class_labels(root, names) if labels else (None, None)
    quiet_pillow()
    found = _inspect_all(root, names, check == "all")
    source = Folder(root, names, label, classes, transform, _common_shape(root, names, found, transform))
    return Mirrored(source) if mirror else source


class Folder:
    """The files `names` under `root`, decoded as they are read; made by `folder`."""

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
        self._digest = digest(*files, str(classes))

    def __len__(self) -> int:
        return len(self.names)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = checked_indices(indices, len(self))
        image = np.empty((len(indices), *self.shape), np.uint8)
        for place, row in zip(image, indices):
            place[...] = self._decode(self.names[row])
        rows = {"image": image}
        if self.label is not None:
            rows["label"] = self.label[indices]
        return rows

    def _decode(self, name: str) -> np.ndarray:
        shown = one_line(self.root / name)
        try:
            with opened(self.root / name) as image:
                pixels = self._transform.apply(image, self.shape[-1])
        except Exception as error:  # Pillow's decoders raise nearly anything
            raise UserError(f"'{shown}' cannot be read: {reason(error)}") from error
        if pixels.shape != self.shape:
            raise UserError(f"'{shown}' is {describe_shape(pixels.shape)} now: it changed during the run")
        return pixels

    def fingerprint(self) -> str:
        words = ["folder", f"n={len(self)}", describe_shape(self.shape)]
        return " ".join([*words, self._transform.describe(), f"#{self._digest}"])


def _list_images(root: Path) -> list[str]:
    """Relative names, '/' between their parts, sorted part by part; hidden files and folders left out."""
    found: list[tuple[str, ...]] = []
    ancestors: dict[str, tuple[str, ...]] = {str(root): (os.path.realpath(root),)}
    for place, folders, files in os.walk(root, followlinks=True):
        above = ancestors.pop(place)
        kept = []
        for name in folders:
            real = os.path.realpath(os.path.join(place, name))
            # A link to a folder that holds it would be walked for ever.
            if not name.startswith(".") and real not in above:
                kept.append(name)
                ancestors[os.path.join(place, name)] = (*above, real)
        folders[:] = kept
        parts = Path(place).relative_to(root).parts
        found += [(*parts, name) for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return ["/".join(parts) for parts in sorted(found)]


def _class_labels(root: Path, names: list[str]) -> tuple[np.ndarray | None, int | None]:
    tops = [name.split("/")[0] if "/" in name else None for name in names]
    classes = sorted({top for top in tops if top is not None})
    if not classes:
        return None, None
    if None in tops:
        loose, inside = one_line(names[tops.index(None)]), one_line(classes[0])
        raise UserError(
            f"'{one_line(root)}' holds images itself ('{loose}') and in sub-folders "
            f"('{inside}'): put all of them into sub-folders, one a class, or pass data.source.labels=false"
        )
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number[top] for top in tops if top is not None], np.int32), len(classes)


class _Found(NamedTuple):
    width: int
    height: int
    grey: bool


def _inspect_all(root: Path, names: list[str], decode: bool) -> list[_Found]:
    def inspect(name: str) -> _Found | str:
        try:
            return _inspect(root / name, decode)
        except Exception as error:  # Pillow's decoders raise nearly anything
            return f"{one_line(name)} ({reason(error)})"

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        results = list(pool.map(inspect, names))
    found = [result for result in results if isinstance(result, _Found)]
    unreadable = [result for result in results if isinstance(result, str)]
    if unreadable:
        rest = len(unreadable) - _NAMED_FILES
        listed = ", ".join(unreadable[:_NAMED_FILES]) + (f", and {rest} more" if rest > 0 else "")
        raise UserError(
            f"{len(unreadable)} of the {len(names)} images under '{one_line(root)}' cannot be read: {listed}; "
            "remove or replace them"
        )
    return found


def _inspect(file: Path, decode: bool) -> _Found:
    from PIL import ExifTags

    with opened(file) as image:
        grey = is_grey(image)
        if decode:
            image.load()
            flat = flatten(image, 1 if grey else 3)
            return _Found(flat.width, flat.height, grey)
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        width, height = (image.height, image.width) if turned else image.size
        return _Found(width, height, grey)


def _common_shape(root: Path, names: list[str], found: list[_Found], transform: Transform) -> tuple[int, int, int]:
    first = found[0]
    if transform.size is None:
        for name, other in zip(names, found):
            if (other.width, other.height) != (first.width, first.height):
                raise UserError(
                    f"the images under '{one_line(root)}' differ in size: '{one_line(names[0])}' is "
                    f"{first.width}x{first.height}, '{one_line(name)}' is {other.width}x{other.height}; "
                    "pass data.source.size=N to make them all N x N"
                )
    return transform.shape(first.height, first.width, 1 if all(one.grey for one in found) else 3)
