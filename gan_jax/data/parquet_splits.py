"""Finds the parquet files of a data set and their splits, as Hugging Face's libraries lay them out."""

import itertools
import re
from pathlib import Path

from ..errors import UserError, one_line
from .containers import FolderContainer
from .file_kinds import is_named_image
from .image_set import SPLITS, natural
from .source import DataMissingError, reason

_SHARD = re.compile(r"(\w+(?:\.\w+)*)-\d+-of-\d+(?:-[0-9a-f]+)?")


def is_parquet(path: Path) -> bool:
    """Returns whether a path is a parquet file, or a folder with parquet files and no images.

    A folder of images may have a table beside them, such as Hugging Face's `metadata.parquet`.
    """
    if not path.is_dir():
        return path.suffix.lower() == ".parquet"
    names = FolderContainer(path).names()
    return any(name[-1].endswith(".parquet") for name in names) and not any(map(is_named_image, names))


def find_files(root: Path) -> dict[str, Path]:
    """Returns the parquet files of a path in natural order, by their names below it; "" is the path itself.

    Hidden files are left out.
    """
    if root.is_file():
        return {"": root}
    if not root.is_dir():
        raise DataMissingError(f"there is no file or folder '{one_line(root)}'")
    names = [file.relative_to(root) for file in root.rglob("*.parquet")]
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    if not shown:
        raise UserError(f"there are no .parquet files under '{one_line(root)}'")
    folders = {(split_of(name.as_posix()), name.parent) for name in shown}
    for split, pairs in itertools.groupby(sorted(folders), key=lambda pair: pair[0]):
        several = [str(folder) for _, folder in pairs]
        if len(several) > 1:
            raise UserError(
                f"'{one_line(root)}' has split '{one_line(split)}' in several folders "
                f"({one_line(', '.join(several))}): pass one of them as data.source.path"
            )
    return {name.as_posix(): root / name for name in sorted(shown, key=lambda name: natural(name.as_posix()))}


def split_of(name: str) -> str:
    """Returns the split that the name of a file tells, as Hugging Face's libraries understand it; else "train"."""
    path = Path(name)
    shard = _SHARD.fullmatch(path.stem)
    if shard:
        return SPLITS.get(shard[1].lower(), shard[1])
    words = [word for part in (path.stem, *reversed(path.parts[:-1])) for word in re.split(r"[\W_\d]+", part)]
    return next((SPLITS[word.lower()] for word in words if word.lower() in SPLITS), "train")


def slices(name: str, split: str, lengths: dict[str, int]) -> list[tuple[str, slice]]:
    """Returns the splits and their rows that `split` names, in TFDS's language. Raises UserError."""
    import tensorflow_datasets
    from tensorflow_datasets.core.splits import SplitInfo

    infos = {key: SplitInfo(name=key, shard_lengths=[count], num_bytes=0) for key, count in lengths.items()}
    for part in split.split("+"):
        if part.split("[")[0].strip() not in [*lengths, "all"]:
            unknown = one_line(part.strip())
            raise UserError(f"'{name}' has no split '{unknown}': it has {one_line(', '.join(lengths))}")
    try:
        chosen = tensorflow_datasets.core.ReadInstruction.from_spec(split).to_absolute(infos)
    except Exception as error:  # TFDS may raise any exception for a bad slice
        raise UserError(f"split '{one_line(split)}' of '{name}' cannot be read: {reason(error)}") from error
    return [(piece.splitname, slice(piece.from_, piece.to)) for piece in chosen]
