"""`loggers.json`: which run of each store a workdir is, and what was sent to it."""

import json
import secrets
import threading
from pathlib import Path

from ...errors import one_line
from ...files.folder import Folder
from ...files.typed_json import check, parse_object

IDENTITY = "loggers.json"
_LARGEST = 2**16  # bytes: hundreds of loggers


class Identity:
    """The identity of a run, and the last step that each logger has sent. Threads may share it.

    Attributes:
        id: 8 hexadecimal digits.
        name: of the workdir when the identity was made; it may have been moved since.
        note: a sentence if the file could not be used, and a new identity was made; else None.
    """

    def __init__(self, workdir: Path):
        self._folder, self._lock = Folder(workdir), threading.Lock()
        self.note: str | None = None
        try:
            tree = parse_object(self._folder.read(IDENTITY, _LARGEST))
            for name in ("id", "name"):
                check(tree.get(name), str, name)
            for kind in ("sent", "checkpoints"):
                check(tree.get(kind), dict[str, int], kind)
        except FileNotFoundError:
            tree = self._make()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            path = one_line(self._folder.path / IDENTITY)
            self.note = f"note: {path} cannot be used ({reason}): loggers begin new runs"
            tree = self._make()
        self.id: str = tree["id"]
        self.name: str = tree["name"]
        self._steps: dict[str, dict[str, int]] = {"sent": tree["sent"], "checkpoints": tree["checkpoints"]}

    def _make(self) -> dict:
        tree = {"id": secrets.token_hex(4), "name": self._folder.path.name, "sent": {}, "checkpoints": {}}
        self._folder.write(IDENTITY, _to_bytes(tree))
        return tree

    def last(self, logger: str, kind: str = "sent") -> int | None:
        """Returns the last step that a logger has sent; None if there was no such logger.

        Kind "checkpoints": the last checkpoint that it has sent.
        """
        return self._steps[kind].get(logger)

    def keep(self, logger: str, step: int, kind: str = "sent") -> None:
        """Writes down that a logger has sent everything up to `step`, by one rename."""
        with self._lock:
            self._steps[kind][logger] = step
            self._folder.write(IDENTITY, _to_bytes({"id": self.id, "name": self.name, **self._steps}))


def _to_bytes(tree: dict) -> bytes:
    return (json.dumps(tree, sort_keys=True) + "\n").encode()
