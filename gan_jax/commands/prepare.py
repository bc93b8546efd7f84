"""`gan-jax prepare`: writes a data set as array_record files: of TFDS, or of your own images."""

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line
from ..files.typed_json import check, parse_object


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "set",
        help="the name of a set in TFDS, such as fashion_mnist; or with --name a folder of images, a zip file of "
        "it, a parquet file, or a folder of parquet files from Hugging Face",
    )
    parser.add_argument(
        "--data-dir", help="the folder of TFDS; TFDS_DATA_DIR or ~/tensorflow_datasets if not given"
    )
    parser.add_argument("--manual-dir", help="a folder with the files that TFDS would download")
    own = parser.add_argument_group("your own images")
    own.add_argument("--name", help="the name of the set that is written: data.source=tfds data.source.name=NAME")
    own.add_argument("--size", help="a side in pixels, or HEIGHTxWIDTH; without it, images keep their sizes")
    own.add_argument(
        "--crop", choices=["center", "pad", "stretch"], help="how other shapes become this one (center)"
    )
    own.add_argument(
        "--format", choices=["png", "jpeg", "keep"],
        help="png: lossless; jpeg: quality 95; keep: the files as they are (png with --size, else keep)",
    )  # fmt: skip
    own.add_argument("--no-labels", action="store_true", default=None, help="leave out the classes")
    own.add_argument("--shard-size", type=int, metavar="N", help="images in a file of the set (2000)")


def run(arguments: argparse.Namespace) -> None:
    from ..data.prepare import prepare_set
    from ..data.prepare.own_images import prepare_images

    chosen = {
        "size": arguments.size, "crop": arguments.crop, "format": arguments.format,
        "shard_size": arguments.shard_size, "labels": None if arguments.no_labels is None else False,
    }  # fmt: skip
    chosen = {key: value for key, value in chosen.items() if value is not None}
    if arguments.name is not None:
        if arguments.manual_dir:
            raise UserError("--manual-dir is for sets of TFDS: leave it out with --name")
        folder = prepare_images(arguments.set, arguments.name, data_dir=arguments.data_dir, **chosen)
        print(_written(folder, arguments.name, arguments.data_dir))
        return
    is_path = os.path.exists(arguments.set)
    if chosen:
        what = f"--{next(iter(chosen)).replace('_', '-')}".replace("--labels", "--no-labels")
        raise UserError(f"{what} is for your own images: pass --name NAME as well, the name of the set to write")
    try:
        folder = prepare_set(arguments.set, data_dir=arguments.data_dir, manual_dir=arguments.manual_dir)
        print(_written(folder, arguments.set, arguments.data_dir))
    except UserError as error:
        if not is_path:
            raise
        raise UserError(
            f"{error}; to write a set of the images in '{one_line(arguments.set)}', pass --name NAME"
        ) from error


def _written(folder: Path, name: str, data_dir: str | None) -> str:
    """Returns a line about the images of the set in `folder`, and one with the command that trains on them."""
    counts = _images_in_splits(folder / "dataset_info.json")
    fields = ["data.source=tfds", f"data.source.name={name}"]
    fields += [f"data.source.data_dir={data_dir}"] if data_dir else []
    fields += [f"data.source.split={next(iter(counts))}"] if counts and "train" not in counts else []
    command = f"train with: gan-jax train CONFIG {shlex.join(fields)}"
    if not counts:
        return command
    total, listed = sum(counts.values()), ", ".join(f"{split} {count:,}" for split, count in counts.items())
    images, splits = "image" if total == 1 else "images", "split" if len(counts) == 1 else "splits"
    return f"it has {total:,} {images} in {len(counts)} {splits}: {listed}\n{command}"


def _images_in_splits(info: Path) -> dict[str, int]:
    """Returns the number of images of each split, as TFDS's dataset_info.json says; empty if it says nothing."""
    try:
        splits = parse_object(info.read_text()).get("splits", [])
        check(splits, list[dict[str, Any]], "splits")
        return {str(split["name"]): sum(map(int, split["shardLengths"])) for split in splits}
    except (OSError, ValueError, KeyError, TypeError):  # the set is written all the same
        return {}
