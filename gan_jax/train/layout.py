"""The files of a workdir: which there are, their format, and whether each is what a run expects.

`docs/workdir.md` describes them. A workdir may come from elsewhere, so this is checked before anything is read.
"""

import json
import os
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

from ..errors import UserError, one_line, quoted
from ..files.folder import Folder
from ..files.typed_json import LARGEST_INT, parse_object
from ..report.legends import LEGENDS
from ..report.loggers.identity import IDENTITY
from ..report.sample_files import is_claimed

FORMAT = 1  # of a workdir. A change that an older gan_jax would misread raises it; checkpoints have their own.
CONFIG = "config.json"
LOCK = ".lock"
HISTORY = "history.jsonl"
_VERSION_FILE = "workdir.json"
_FILES = (
    LOCK, _VERSION_FILE, CONFIG, HISTORY, "metrics.jsonl", "evaluations.jsonl", "report.html", "samples.gif",
    IDENTITY, LEGENDS,
)  # fmt: skip
_RESTORE = "restore it, or remove it if this version of gan_jax wrote the run"
_LOGGED = ("tensorboard", "wandb", "trackio", "mlflow")  # what other packages write
_FOLDERS = ("samples", "checkpoints", *_LOGGED)
_WANDB_LINKS = ("latest-run", "debug.log", "debug-internal.log")  # which wandb makes, and replaces
LARGEST_JSON = 2**24  # bytes of config.json: a thousand times what a config needs

Known: TypeAlias = tuple[str, Sequence[str] | None]
"""The fingerprint of a run's data, and the names of its classes; None: it has none, or gan_jax 0.1 wrote none."""


def this_version() -> str:
    """Returns the version of gan_jax."""
    return metadata.version("gan_jax")


def check_layout(workdir: Path) -> None:
    """Checks that every file and folder that a run reads or writes is one, and that this version knows the format.

    Raises:
        UserError: there is a link, a pipe or a device in such a place, or a later version made the workdir.
    """
    folder = Folder(workdir)
    try:
        for name in _FILES:
            _check_kind(folder, name, "a file")
        for name in _FOLDERS:
            _check_kind(folder, name, "a folder")
        for name, wanted in _unusual(Path(workdir)):
            _check_kind(folder, name, wanted)
    except OSError as error:
        raise UserError(
            f"{one_line(error.filename or workdir)} cannot be read ({error.strerror}): mend its permissions, or "
            "use another workdir"
        ) from error
    _check_format(folder)


def _unusual(workdir: Path) -> Iterator[tuple[str, str]]:
    """Yields what is not as a run expects it in the folders of a workdir, and what should be there."""
    for folder in _FOLDERS:
        if not (workdir / folder).is_dir():
            continue
        with os.scandir(workdir / folder) as entries:
            for entry in entries:
                is_file, is_folder = (test(follow_symlinks=False) for test in (entry.is_file, entry.is_dir))
                if folder == "samples" and is_claimed(entry.name) and not is_file:
                    yield f"{folder}/{entry.name}", "a file"
                if folder == "checkpoints" and entry.name.isdecimal() and not is_folder:
                    yield f"{folder}/{entry.name}", "a folder"
                # These packages open names that can be guessed.
                is_own = folder == "wandb" and entry.name in _WANDB_LINKS
                if folder in _LOGGED and not (is_file or is_folder or is_own):
                    yield f"{folder}/{entry.name}", "a file"


def _check_kind(folder: Folder, name: str, wanted: str) -> None:
    kind = folder.kind(name)
    if kind not in (None, wanted):
        remedy = "remove it or move it elsewhere"
        if kind == "a link":
            remedy = "move what it leads to here, or make the whole workdir a link: links in it are not followed"
        raise UserError(f"{one_line(folder.path / name)} is {kind}, but a run has {wanted} there: {remedy}")


def written_by(workdir: Path) -> str:
    """Returns the end of a sentence: which other version of gan_jax wrote the workdir; empty if it is this one."""
    this = this_version()
    version = _read_version(Folder(workdir)).get("gan_jax", this)
    return "" if version == this else f"; gan_jax {_plain(version)} wrote it, and this is gan_jax {this}"


def _plain(version: object) -> str:
    return one_line(version, 30) if isinstance(version, str) else quoted(version)


def _check_format(folder: Folder) -> None:
    tree = _read_version(folder)
    number = tree.get("format", FORMAT)
    if type(number) is not int or not 0 < number < LARGEST_INT:
        raise UserError(
            f"{one_line(folder.path / _VERSION_FILE)} has no valid format ({quoted(number)}): {_RESTORE}"
        )
    if number > FORMAT:
        raise UserError(
            f"{one_line(folder.path)} has the workdir format {number}, and this is gan_jax {this_version()}, "
            f"which reads format {FORMAT}: use gan_jax {_plain(tree.get('gan_jax'))}, which wrote it"
        )


def _read_version(folder: Folder) -> dict[str, object]:
    """Returns what `keep_format` wrote; empty if there is no run, or one of a version that did not write it."""
    try:
        return parse_object(folder.read(_VERSION_FILE, LARGEST_JSON))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        path = one_line(folder.path / _VERSION_FILE)
        raise UserError(f"{path} cannot be read ({reason}): {_RESTORE}") from error


def keep_format(workdir: Path) -> None:
    """Writes down the format of a workdir and the version that wrote it."""
    tree = {"format": FORMAT, "gan_jax": this_version()}
    Folder(workdir).write(_VERSION_FILE, (json.dumps(tree) + "\n").encode())
