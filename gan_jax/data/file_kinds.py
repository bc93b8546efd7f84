"""What a file is, by its ending and its first bytes: an image, an unfinished download, or something else."""

from collections.abc import Sequence

from ..errors import one_line
from .containers import Name

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".ppm", ".pgm",
    ".pbm", ".pnm", ".avif",
)  # fmt: skip
"""It is an error if a file with such an ending cannot be read. Any other file is an image if it can be read."""

EARLIER_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
"""Those that gan_jax 0.1 read."""

_UNFINISHED = (".part", ".crdownload", ".download", ".tmp", ".partial")
_PARQUET = b"PAR1"  # the first bytes of a parquet file
_HEIC = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis")  # the brand in the first bytes
DATASET_JSON = ("dataset.json",)


def is_named_image(name: Name) -> bool:
    """Returns whether the ending says that it is an image."""
    return name[-1].lower().endswith(SUFFIXES)


def sort_out(names: Sequence[Name]) -> tuple[list[Name], list[Name]]:
    """Returns the names that may be of images, and those that are of unfinished downloads."""
    unfinished = [name for name in names if name[-1].lower().endswith(_UNFINISHED)]
    left_out = {*unfinished, DATASET_JSON}
    return [name for name in names if name not in left_out], unfinished


def describe_left_out(others: Sequence[tuple[Name, str]], kind: str = "images") -> list[str]:
    """Returns a note that counts the files that are not read, and names some with their reasons."""
    if not others:
        return []
    shown = [one_line("/".join(name)) + (f" ({why})" if why else "") for name, why in others[:5]]
    more = f" and {len(others) - 5:,} more" if len(others) > 5 else ""
    files = "1 file is" if len(others) == 1 else f"{len(others):,} files are"
    return [f"note: {files} not read as {kind}: {', '.join(shown)}{more}"]


def may_be_image(head: bytes) -> bool:
    """Returns whether a file that begins with these bytes may be an image in one of `decode.FORMATS`."""
    starts = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"P", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    return (head.startswith(starts) and head[:4] != _PARQUET) or head[8:12] in (b"WEBP", b"avif", b"avis")


def guess(content: bytes) -> str:
    """Returns what a file that cannot be read as an image is, where that helps; else an empty text."""
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC:
        return "HEIC: convert it to JPEG or PNG"
    if content[4:8] == b"ftyp" and content[8:12] in (b"avif", b"avis"):
        return "AVIF, which this build of Pillow does not read: convert it to PNG"
    if content[:2] == b"\xff\x0a" or content[4:12] == b"JXL \r\n\x87\n":
        return "JPEG XL: convert it to PNG"
    if content[4:8] == b"ftyp" or content[:4] == b"\x1aE\xdf\xa3":
        return "a video"
    if (content[:4] == b"RIFF" and content[8:12] == b"WAVE") or content[:4] in (b"fLaC", b"OggS"):
        return "audio: data.source=audio reads it"
    if content[:4] == _PARQUET:
        return "parquet: data.source=parquet reads it"
    return ""
