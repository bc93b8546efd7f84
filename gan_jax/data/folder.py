"""A source that reads the image files of a folder or of a zip file."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from ..errors import UserError, one_line
from .containers import Container, FolderContainer, open_container
from .decode import Range, open_image, quiet_pillow
from .facts import Facts
from .file_kinds import DATASET_JSON, EARLIER_SUFFIXES, describe_left_out, sort_out
from .image_set import Layout, choose_split, classes_by_folder, classes_by_json
from .images import Channels, Crop, Filter, Size, Transform
from .ranges import range_notes
from .read_images import Images, animation_note, check_images, common_shape, read_images, room_note
from .source import Mirrored, Source, checked_indices, describe_shape, expand_path, hash_parts, reason
from .unchanged import Unchanged


def folder(
    path: str,
    labels: bool = True,
    split: str | None = None,
    check: Literal["all", "header"] = "all",
    size: Size | None = None,
    crop: Crop = "center",
    filter: Filter = "lanczos",
    channels: Channels | None = None,
    range: Range | None = None,
    reduced: bool = False,
    mirror: bool = False,
) -> Source:
    """Returns a source of the images in the folder or zip file `path`, sorted by name.

    The content of a file tells whether it is an image. Sizes and modes may be mixed. If the images lie in
    sub-folders, the topmost sub-folder of each image is its class (0, 1, ... in the natural order of the names). A
    `dataset.json` with labels, as NVIDIA's tools write it, comes before that. `labels=False` ignores the classes.
    If all sub-folders are splits (train, test, val), `split` chooses one, by default train; "all" joins them, and
    "" takes them as classes. Hidden files are skipped. Transparent images are composed on white, EXIF orientation
    is applied, and 16-bit grey is scaled to 8 bits. Of an animation the first frame is read. The set is grey if
    all files are grey.

    `check="all"` decodes every file once, and keeps the resized images in the user's cache folder; "header"
    decodes an image when it is used. `images.Transform` describes the other options. Raises UserError if files
    cannot be read (it names them), or if the sizes differ and `size` is not given.
    """
    transform = Transform(size, crop, filter, channels, range, reduced)
    container = open_container(expand_path(path))
    quiet_pillow()
    layout, images = read_folder(container, labels, split, transform, decode=check == "all")
    shape = common_shape(container, images, transform)
    source = Folder(container, layout, images.facts, transform, shape, images.pixels)
    return Mirrored(source) if mirror else source


def read_folder(
    container: Container,
    labels: bool,
    split: str | None,
    transform: Transform,
    *,
    decode: bool = True,
    keep: bool = True,
    check: Callable[[Container, Images], None] = check_images,
) -> tuple[Layout, Images]:
    """Reads the images of a folder or zip file, and finds their classes; see `folder` and `read_images`.

    `check` is called when they are read, and may raise.
    """
    all_names = container.names()
    candidates, unfinished = sort_out(all_names)
    chosen = choose_split(container, candidates, split)
    images = read_images(container, chosen.names, transform, decode=decode, keep=keep, left_out=unfinished)
    check(container, images)
    no_room = room_note(images) if decode and keep else []
    notes = [*chosen.notes, *describe_left_out(images.others), *animation_note(container, images), *no_room]
    layout = Layout(images.names, notes=notes, depth=chosen.depth)
    if labels:
        from_json = classes_by_json(container, layout) if DATASET_JSON in all_names else None
        layout = from_json or classes_by_folder(container, layout)
        if (
            from_json is None
            and layout.depth == 0
            and layout.class_names
            and isinstance(container, FolderContainer)
        ):
            layout.notes += container.note_on_empty({name[0] for name in layout.names})
    return layout, images


class Folder:
    """A source of image files; `folder` makes it.

    Attributes:
        names: the paths of the files below the folder, with "/" as separator.
        label: int32 `[N]`, or None.
    """

    def __init__(
        self,
        container: Container,
        layout: Layout,
        facts: list[Facts],
        transform: Transform,
        shape: tuple[int, int, int],
        pixels: np.ndarray | None,
    ):
        self._container, self._layout, self._facts, self._transform = container, layout, facts, transform
        self.names = ["/".join(name) for name in layout.names]
        self.label, self.class_names = layout.label, layout.class_names
        self.classes = None if layout.class_names is None else len(layout.class_names)
        self.shape, self.dtype = shape, np.dtype(np.uint8)
        self._pixels = pixels
        self._unchanged: Unchanged | None = None
        if pixels is None:  # files are read again during the run
            self._unchanged = Unchanged(container, layout.names, [known.digest for known in facts])
        label = [] if self.label is None else [np.ascontiguousarray(self.label).data.cast("B"), str(self.classes)]
        self._content_hash = hash_parts([*(known.digest for known in facts), *label])

    def __len__(self) -> int:
        return len(self.names)

    def notes(self) -> list[str]:
        return [*self._layout.notes, *range_notes([known.values for known in self._facts], self._transform)]

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = checked_indices(indices, len(self))
        if self._pixels is not None:
            image = np.ascontiguousarray(np.broadcast_to(self._pixels[indices], (len(indices), *self.shape)))
        else:
            image = np.empty((len(indices), *self.shape), np.uint8)
            for position, row in enumerate(indices):
                image[position] = self._decode(int(row))
        rows = {"image": image}
        if self.label is not None:
            rows["label"] = self.label[indices]
        return rows

    def _decode(self, row: int) -> np.ndarray:
        name = self._layout.names[row]
        shown = one_line(self._container.path.joinpath(*name))
        try:
            is_same = self._unchanged is None or self._unchanged.is_same(row)
            with open_image(self._container.open(name)) as image:
                pixels = self._transform.apply(image, self.shape[-1])
        except Exception as error:  # Pillow's decoders may raise any exception
            raise UserError(f"'{shown}' cannot be read: {reason(error)}") from error
        if pixels.shape != self.shape:
            now, before = describe_shape(pixels.shape), describe_shape(self.shape)
            raise UserError(f"'{shown}' is {now} now, but was {before}: do not change files during a run")
        if not is_same:
            raise UserError(f"'{shown}' has changed since the run began: do not change files during a run")
        return pixels

    def fingerprint(self) -> str:
        words = ["images", f"n={len(self)}", describe_shape(self.shape)]
        return " ".join([*words, self._transform.describe(), f"#{self._content_hash}"])

    def before(self) -> tuple["Folder", str] | None:
        """Returns the source with the labels that gan_jax 0.1 gave, and the fingerprint that it had there."""
        layout = self._layout.before()
        kept = [i for i, name in enumerate(self.names) if name.lower().endswith(EARLIER_SUFFIXES)]
        sizes = self._container.sizes([layout.names[i] for i in kept])
        if sizes is None or not kept:
            return None
        names = [layout.names[i] for i in kept]
        label = None if layout.label is None else layout.label[kept]
        pixels = self._pixels if self._pixels is None or len(kept) == len(self) else self._pixels[kept]
        source = Folder(
            self._container, Layout(names, label, layout.class_names, notes=layout.notes),
            [self._facts[i] for i in kept], self._transform, self.shape, pixels,
        )  # fmt: skip
        words = ["folder", f"n={len(source)}", describe_shape(self.shape), self._transform.describe()]
        files = [f"{name} {size}" for name, size in zip(source.names, sizes)]
        return source, " ".join([*words, f"#{hash_parts([*files, str(source.classes)])}"])
