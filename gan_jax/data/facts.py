"""What is known of each file of a data set: a hash of its content, and what image it is.

To know it, a file is read once. It is remembered in `facts.sqlite` in the user's cache folder, under the file's
device, inode, size and times, so a set that is moved or renamed is not read again.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

import numpy as np

from ..errors import one_line
from ..files import user_cache
from .containers import Container, Name, file_stamp
from .decode import ORIENTATION, Values, is_grey, open_image, values_of
from .images import Transform
from .source import reason
from .waiting import check_stop, each

_BLOCK = 2**24
_FORMAT = 1  # raised by every change of what is remembered
_LIMIT_ROWS = 4_000_000  # about 1 GiB
_SETTLED = 2.0  # seconds. A file that was just written may change again within the precision of its times

Known = TypeVar("Known", bound=Any)


@dataclass(frozen=True)
class Facts:
    """What is known of a file.

    Attributes:
        digest: BLAKE2 hash of its content, 32 hexadecimal digits.
        format: as Pillow names it, such as PNG; empty: it is no image that is read.
        mode: of its pixels, as Pillow names it.
        width, height: in pixels, as the EXIF orientation says that it is seen.
        grey: whether it has no colours.
        low, high, full: see `decode.Values`; 0, 0 and 0 if it was not decoded.
        error: why it cannot be decoded; empty: it can.
    """

    digest: str = ""
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    grey: bool = False
    low: float = 0.0
    high: float = 0.0
    full: float = 0.0
    error: str = ""

    @property
    def values(self) -> Values:
        return Values(self.low, self.high, self.full)


def examine(content: bytes, transform: Transform, decode: bool = True) -> tuple[Facts, np.ndarray | None]:
    """Returns the facts of a file with this content, and its image as uint8 [H, W, C].

    C is 1 if it is grey, else 3. Without `decode` only the header is read, and there is no image.
    """
    known = Facts(hash_content(content))
    try:
        with open_image(io.BytesIO(content)) as image:
            sideways = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
            width, height = (image.height, image.width) if sideways else image.size
            known = dataclasses.replace(
                known, format=image.format or "", mode=image.mode, width=width, height=height, grey=is_grey(image)
            )
            if not decode:
                return known, None
            pixels = transform.apply(image, transform.channels or (1 if known.grey else 3))
            return dataclasses.replace(known, **values_of(image)._asdict()), pixels
    except Exception as error:  # Pillow's decoders may raise any exception
        return dataclasses.replace(known, error=reason(error) or type(error).__name__), None


def hash_content(content: bytes) -> str:
    """Returns the BLAKE2 hash of a file's content: 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def hash_stream(file: IO[bytes]) -> str:
    """Returns what `hash_content` gives for all that the file holds, which need not fit in memory.

    Raises:
        StopAskedError: the process was asked to stop.
    """
    total = hashlib.blake2b(digest_size=16)
    while block := file.read(_BLOCK):
        check_stop()
        total.update(block)
    return total.hexdigest()


def hash_files(paths: Sequence[Path]) -> list[str]:
    """Returns the hash of the content of each file. A file that was hashed before is not read again."""
    memory, stamps = Memory("content", Facts), [file_stamp(path)[0] for path in paths]
    known = memory.recall(stamps)
    unknown = [(path, stamp) for path, stamp in zip(paths, stamps) if stamp not in known]

    def digest(item: tuple[Path, str]) -> tuple[Facts, bool]:
        began = time.time()
        with open(item[0], "rb") as file:
            content_hash = hash_stream(file)
        stamp, changed = file_stamp(item[0])
        return Facts(content_hash), stamp == item[1] and is_settled(changed, began)

    new = dict(zip((stamp for _, stamp in unknown), each(digest, unknown, len(unknown), "hashing the data")))
    memory.remember({stamp: facts for stamp, (facts, lasts) in new.items() if lasts})
    digests = known | {stamp: facts for stamp, (facts, _) in new.items()}
    return [digests[stamp].digest for stamp in stamps]


def read_once(
    container: Container, names: Sequence[Name], memory: "Memory[Known]", examine: Callable[[Name], Known]
) -> list[Known]:
    """Returns the facts of each file, which `examine` reads on all cores unless they are remembered.

    Facts have `error`, a text that is empty if the file can be read; those with an error are not remembered.
    """
    stamps: dict[Name, str] = {}
    found: dict[Name, Known] = {}
    for name in names:
        try:
            stamps[name] = container.stamp(name)[0]
        except OSError as error:  # a link that leads nowhere
            found[name] = memory.make(error=reason(error))
    known = memory.recall(stamps.values())
    found |= {name: known[stamp] for name, stamp in stamps.items() if stamp in known}
    unknown = [name for name in stamps if name not in found]

    def read(name: Name) -> tuple[Known, bool]:
        began = time.time()
        facts = examine(name)
        try:
            stamp, changed = container.stamp(name)
        except OSError as error:
            return memory.make(error=reason(error)), False
        return facts, stamp == stamps[name] and is_settled(changed, began) and not facts.error

    lasting: dict[str, Known] = {}
    try:
        doing = f"reading {one_line(container.path.name, 30)}"
        for name, (facts, lasts) in zip(unknown, each(read, unknown, len(unknown), doing)):
            found[name] = facts
            if lasts:
                lasting[stamps[name]] = facts
    finally:
        memory.remember(lasting)
    return [found[name] for name in names]


def database() -> Path:
    """Returns the file in which facts are remembered."""
    return user_cache.home() / "facts.sqlite"


def is_settled(changed: float, read: float) -> bool:
    """Returns whether a file that was read had not been changed just before, both in seconds of `time.time`.

    Times of files are rounded, so a later change might show the same time.
    """
    return changed < read - _SETTLED


class Memory(Generic[Known]):
    """Remembers facts from run to run. Where the cache folder cannot be used, or is off, it knows nothing.

    Args:
        kind: what the facts depend on besides the file, such as the version of Pillow.
        make: the dataclass of the facts, such as `Facts`; its fields are numbers and text.
    """

    def __init__(self, kind: str, make: Callable[..., Known]):
        self.make, self._kind = make, f"{_FORMAT} {kind} "
        self._path = database() if user_cache.wanted() else None

    def recall(self, stamps: Iterable[str]) -> dict[str, Known]:
        """Returns the facts of those files that are known, by their stamps."""
        found: dict[str, Known] = {}
        with self._database() as database:
            if database is None:
                return {}
            for stamp in stamps:
                row = database.execute("SELECT facts FROM facts WHERE stamp = ?", (self._kind + stamp,)).fetchone()
                if row is not None:
                    with contextlib.suppress(ValueError, TypeError):  # damaged, so as if it were unknown
                        found[stamp] = self.make(**json.loads(row[0]))
        return found

    def remember(self, facts: Mapping[str, Known]) -> None:
        """Keeps facts by their stamps."""
        now = time.time()
        rows = [(self._kind + stamp, json.dumps(dataclasses.asdict(known)), now) for stamp, known in facts.items()]
        with self._database() as database:
            if database and rows:
                database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", rows)
                if database.execute("SELECT count(*) FROM facts").fetchone()[0] > _LIMIT_ROWS:
                    oldest = "SELECT rowid FROM facts ORDER BY time DESC LIMIT -1 OFFSET ?"
                    database.execute(f"DELETE FROM facts WHERE rowid IN ({oldest})", (_LIMIT_ROWS,))

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection | None]:
        """Opens the database; None where there is none to open. An error of it loses what would be remembered."""
        connection = self._open()
        try:
            with contextlib.suppress(sqlite3.Error):
                if connection is None:
                    yield None
                else:
                    with connection:
                        yield connection
        finally:
            if connection is not None:
                connection.close()

    def _open(self) -> sqlite3.Connection | None:
        if self._path is None:
            return None
        try:
            user_cache.make_private(self._path.parent)
            connection = sqlite3.connect(self._path, timeout=10)
        except (OSError, sqlite3.OperationalError):
            return None
        try:
            connection.execute("CREATE TABLE IF NOT EXISTS facts (stamp TEXT PRIMARY KEY, facts TEXT, time REAL)")
            return connection
        except sqlite3.DatabaseError as error:
            connection.close()
            # A damaged one is made anew by the next run; else another process uses it, or the disk is full.
            if not isinstance(error, sqlite3.OperationalError):
                self._path.unlink(missing_ok=True)
            return None
