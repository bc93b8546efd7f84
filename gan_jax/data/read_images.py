"""Reads each image of a set once: what it is, what its content is, and, where there is room, its pixels."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import UserError, one_line
from . import decoded
from .containers import Container, Name
from .decode import open_image
from .facts import Facts, Memory, examine, is_settled
from .file_kinds import SUFFIXES, guess, is_named_image, may_be_image
from .images import Transform
from .memory import available_memory_bytes
from .source import hash_parts, reason
from .waiting import each

_MAX_LISTED_FILES = 10  # in one error message
_DECODED_FORMAT = 1  # raised by every change of how images are decoded


@dataclass
class Images:
    """The images of a set, in the order of their names.

    Attributes:
        names: of the files.
        facts: of each file.
        pixels: uint8 `[N, H, W, C]`; None: they are decoded when they are used.
        others: files that are no images, each with the reason or an empty text.
        broken: image files that cannot be read.
    """

    names: list[Name]
    facts: list[Facts]
    pixels: np.ndarray | None
    others: list[tuple[Name, str]]
    broken: list[tuple[Name, Facts]]


def read_images(
    container: Container,
    names: Sequence[Name],
    transform: Transform,
    *,
    decode: bool,
    keep: bool = True,
    left_out: Sequence[Name] = (),
    all_images: bool = False,
) -> Images:
    """Finds the images among the files `names`, and reads those that are not known yet.

    `decode` decodes each, and `keep` keeps the pixels. `left_out`: files that are no images. `all_images`: a file
    that cannot be read is broken, whatever its ending is.
    """

    def must_be_image(name: Name) -> bool:
        return all_images or is_named_image(name)

    others: list[tuple[Name, str]] = [(name, "an unfinished download") for name in left_out]
    found: list[Name] = []
    for name in names:
        head = None if must_be_image(name) else _head(container, name)
        if head is None or may_be_image(head):
            found.append(name)
        else:
            others.append((name, guess(head)))
    reader = _Reader(container, found, transform, decode, keep)
    facts = reader.facts()
    broken = [(name, known) for name, known in zip(found, facts) if known.error and must_be_image(name)]
    others += [(name, known.error) for name, known in zip(found, facts) if known.error and not must_be_image(name)]
    if any(known.error for known in facts):
        reader.close()  # its pixels have rows for all files
        whole = [(name, known) for name, known in zip(found, facts) if not known.error]
        found, facts = [name for name, _ in whole], [known for _, known in whole]
        reader = _Reader(container, found, transform, decode, keep)
    pixels = reader.pixels(facts) if decode and keep and not broken and _fit(facts, transform) else None
    reader.close()
    return Images(found, facts, pixels, others, broken)


def room_note(images: Images) -> list[str]:
    """Returns a note if the decoded images were to be kept, and there was no room for them."""
    if images.pixels is not None:
        return []
    return [
        "note: there is no room for the decoded images, so each file is decoded whenever it is used: free disk "
        f"space for {decoded.folder()}, or prepare the images at the size of the training (gan-jax prepare)"
    ]


def animation_note(container: Container, images: Images) -> list[str]:
    """Returns a note if the first GIF of the images is animated, because one frame of it is read."""
    for name, known in zip(images.names, images.facts):
        if known.format == "GIF":
            try:
                with open_image(container.open(name)) as image:
                    if not getattr(image, "is_animated", False):
                        return []
            except Exception:  # Pillow's decoders may raise any exception; reading the set says so
                return []
            shown = one_line("/".join(name))
            return [f"note: '{shown}' is animated: its first frame is read; data.source=video reads all frames"]
    return []


def check_images(container: Container, images: Images) -> None:
    """Raises UserError if there are no images, or some cannot be read."""
    shown, others, broken = one_line(container.path), images.others, images.broken
    if broken:
        rest = len(broken) - _MAX_LISTED_FILES
        words = [f"{one_line('/'.join(name))} ({known.error})" for name, known in broken[:_MAX_LISTED_FILES]]
        listed = ", ".join(words) + (f", and {rest} more" if rest > 0 else "")
        total = len(broken) + len(images.names)
        raise UserError(
            f"{len(broken)} of the {total} images under '{shown}' cannot be read: {listed}; remove or replace them"
        )
    if not images.names:
        left = f"; {len(others):,} other files are there, such as {_first(others)}" if others else ""
        raise UserError(f"there are no images under '{shown}' (looked for {', '.join(SUFFIXES)}){left}")


def common_shape(container: Container, images: Images, transform: Transform) -> tuple[int, int, int]:
    """Returns (H, W, C) of the images.

    Raises:
        UserError: their sizes differ, and the transform does not make them equal.
    """
    first = images.facts[0]
    for name, other in zip(images.names, images.facts):
        if transform.size is None and (other.width, other.height) != (first.width, first.height):
            raise UserError(
                f"the images under '{one_line(container.path)}' differ in size: "
                f"'{one_line('/'.join(images.names[0]))}' is {first.width}x{first.height}, "
                f"'{one_line('/'.join(name))}' is {other.width}x{other.height}; pass data.source.size=N to make "
                "them all N x N, or size=HEIGHTxWIDTH"
            )
    return transform.shape(first.height, first.width, 1 if all(known.grey for known in images.facts) else 3)


def _head(container: Container, name: Name) -> bytes | None:
    """Returns the first bytes of a file; None if it cannot be read, which reading it will say."""
    try:
        return container.head(name)
    except (OSError, ValueError):
        return None


def _fit(facts: Sequence[Facts], transform: Transform) -> bool:
    """Returns whether the images have one size in the end."""
    sizes = {(known.width, known.height) for known in facts}
    return len(sizes) == 1 or (len(sizes) > 1 and transform.size is not None)


def _first(others: Sequence[tuple[Name, str]]) -> str:
    name, why = others[0]
    return one_line("/".join(name)) + (f" ({why})" if why else "")


class _Read(NamedTuple):
    """What was read of a file; the stamp is None if the file may have changed meanwhile."""

    facts: Facts
    pixels: np.ndarray | None = None
    stamp: str | None = None


class _Reader:
    """Reads the files of a set, on all cores.

    Args:
        container, names: the files.
        transform, decode, keep: see `read_images`.
    """

    def __init__(self, container: Container, names: list[Name], transform: Transform, decode: bool, keep: bool):
        self._container, self._names, self._transform, self._decode = container, names, transform, decode
        self._keep = keep
        self._store: decoded.Store | None = None
        self._doing = f"reading {one_line(container.path.name, 30)}"

    def facts(self) -> list[Facts]:
        """Returns the facts of each file. If none is known, the pixels are kept as well."""
        from PIL import __version__ as pillow

        memory = Memory(f"Pillow {pillow} {'decoded' if self._decode else 'header'}", Facts)
        stamps: dict[Name, tuple[str, float]] = {}
        broken: dict[Name, Facts] = {}
        for name in self._names:
            try:
                stamps[name] = self._container.stamp(name)
            except OSError as error:  # a link that leads nowhere
                broken[name] = Facts("", error=reason(error))
        known = memory.recall(stamp for stamp, _ in stamps.values())
        unknown = [name for name, (stamp, _) in stamps.items() if stamp not in known]
        if self._keep and 2 * len(unknown) > len(self._names):
            unknown = list(stamps)  # to decode the few known ones again is less work than two passes
        new: dict[Name, Facts] = {}
        lasting: dict[str, Facts] = {}
        keep = self._keep and len(unknown) == len(self._names)
        try:
            for name, read in self._each(unknown):
                new[name] = read.facts
                stamp = stamps[name][0]
                if read.stamp == stamp and not read.facts.error:  # an error may pass
                    lasting[stamp] = read.facts
                keep = keep and read.pixels is not None and self._put(len(new) - 1, read.pixels)
        finally:
            memory.remember(lasting)
        if not keep:
            self.close()
        return [broken.get(name) or new.get(name) or known[stamps[name][0]] for name in self._names]

    def pixels(self, facts: list[Facts]) -> np.ndarray | None:
        """Returns the pixels of all files; None if there is no room for them."""
        from PIL import __version__ as pillow

        grey = self._transform.channels == 1 or (self._transform.channels is None and all(f.grey for f in facts))
        key = [f"{_DECODED_FORMAT} Pillow {pillow} {self._transform.describe()} {self._transform.size} {grey}"]
        digest = hash_parts([*key, *(known.digest for known in facts)], size=16)
        first = facts[0]
        shape = (len(facts), *self._transform.shape(first.height, first.width, 1 if grey else 3))
        ready = decoded.load(digest, shape)
        if ready is None and self._store is None:
            for row, (name, read) in enumerate(self._each(self._names)):
                if read.pixels is None or read.facts.digest != facts[row].digest:
                    raise UserError(f"'{one_line('/'.join(name))}' has changed since it was read: start again")
                if not self._put(row, read.pixels):
                    return None
        if ready is None and self._store is not None:
            ready = self._store.close(digest, grey)
        return ready

    def _put(self, row: int, pixels: np.ndarray) -> bool:
        """Keeps the pixels of a file; returns False if there is no room for those of all."""
        if self._store is None:
            channels = self._transform.channels or 3  # whether all are grey is not known yet
            shape = (len(self._names), *pixels.shape[:2], channels)
            self._store = decoded.Store(shape, available_memory_bytes() // 8)
        kept = self._store.put(row, pixels)
        if not kept:
            self._store.discard()
        return kept

    def close(self) -> None:
        """Gives up pixels that are not used."""
        if self._store is not None:
            self._store.discard()
            self._store = None

    def _each(self, names: Sequence[Name]) -> Iterator[tuple[Name, _Read]]:
        def read(name: Name) -> _Read:
            began = time.time()
            try:
                content = self._container.read(name)
                stamp, changed = self._container.stamp(name)
            except (OSError, ValueError) as error:
                return _Read(Facts("", error=reason(error) or type(error).__name__))
            facts, pixels = examine(content, self._transform, self._decode)
            return _Read(facts, pixels, stamp if is_settled(changed, began) else None)

        return zip(names, each(read, names, len(names), self._doing))
