"""A source that reads the parquet files of a Hugging Face data set, or others with columns of encoded images."""

from .decode import Range, quiet_pillow
from .folder import Folder
from .image_set import Layout
from .images import Channels, Crop, Filter, Size, Transform
from .parquet_files import ParquetContainer
from .read_images import check_images, common_shape, read_images
from .source import Mirrored, Source, expand_path


def parquet(
    path: str,
    split: str | None = None,
    image_key: str = "image",
    label_key: str = "label",
    size: Size | None = None,
    crop: Crop = "center",
    filter: Filter = "lanczos",
    channels: Channels | None = None,
    range: Range | None = None,
    reduced: bool = False,
    mirror: bool = False,
) -> Source:
    """Returns a source of the images in a parquet file, or in the *.parquet files of a folder.

    The split of a file is told by its name, as in `data/train-00000-of-00003.parquet`. `split` chooses in TFDS's
    language: "train", "train[:80%]", "train+test". By default it is "train" if there are several splits, and else
    the only one.

    Images are the column `image_key`, or the only column of images: image files as bytes, or Hugging Face's struct
    of `bytes` and `path`. Labels are the column `label_key` of integers or text. None are read if label_key="", or
    if it is "label" and there is no such column. The classes have the names of the ClassLabel.

    Every image is decoded once, as `folder` does. `images.Transform` describes the other options. Raises UserError
    if something cannot be used; it names the rows.
    """
    transform = Transform(size, crop, filter, channels, range, reduced)
    quiet_pillow()
    container = ParquetContainer(expand_path(path), split, image_key, label_key)
    images = read_images(container, container.names(), transform, decode=True, all_images=True)
    check_images(container, images)
    layout = layout_of(container, label_key)
    if images.pixels is None and transform.size is not None:
        layout.notes.append(
            "note: there is no room for the decoded images, and rows of parquet files at random are slow to read: "
            "`gan-jax prepare` writes a set that is quicker"
        )
    shape = common_shape(container, images, transform)
    source = Folder(container, layout, images.facts, transform, shape, images.pixels)
    return Mirrored(source) if mirror else source


def layout_of(container: ParquetContainer, label_key: str) -> Layout:
    """Returns the chosen rows with their classes, and notes on splits and columns of labels that are not used."""
    names, labels, notes = container.names(), container.labels, []
    if len(names) < sum(container.splits.values()):
        counts = ", ".join(f"{split} {count:,}" for split, count in container.splits.items())
        notes.append(
            f"note: {len(names):,} rows are used of the splits {counts}; data.source.split chooses others"
        )
    if labels is not None:
        return Layout(names, labels.label, labels.class_names, [*notes, *labels.notes])
    if label_key and container.label_columns:
        columns = " or ".join(container.label_columns)
        notes.append(f"note: no labels are read; data.source.label_key may be {columns}")
    return Layout(names, notes=notes)
