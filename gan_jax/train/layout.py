"""The files of a workdir: which there are, their format, and whether each is what a run expects.

`docs/workdir.md` describes them. A workdir may come from elsewhere, so this is checked before anything is read.
"""

import json
from importlib import metadata
from pathlib import Path

from ..errors import UserError, one_line, quoted
from ..files.folder import Folder
from ..files.typed_json import LARGEST_INT, parse_object

FORMAT = 1  # of a workdir. A change that an older gan_jax would misread raises it; checkpoints have their own.
THIS = metadata.version("gan_jax")
CONFIG = "config.json"
LOCK = ".lock"
_VERSION_FILE = "workdir.json"
_FILES = (LOCK, _VERSION_FILE, CONFIG, "metrics.jsonl", "evaluations.jsonl", "report.html", "samples.gif")
_RESTORE = "restore it, or remove it if this version of gan_jax wrote the run"
_FOLDERS = ("samples", "checkpoints", "tensorboard")
LARGEST_JSON = 2**24  # bytes of config.json: a thousand times what a config needs


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
        for name in _entries(folder, "samples"):
            if name.startswith("samples/step_") and name.endswith(".png"):
                _check_kind(folder, name, "a file")
        for name in _entries(folder, "checkpoints"):
            if name.removeprefix("checkpoints/").isdecimal():
                _check_kind(folder, name, "a folder")
    except OSError as error:
        raise UserError(
            f"{one_line(error.filename or workdir)} cannot be read ({error.strerror}): mend its permissions, or "
            "use another workdir"
        ) from error
    _check_format(folder)


def _entries(folder: Folder, name: str) -> list[str]:
    path = folder.path / name
    return sorted(f"{name}/{entry.name}" for entry in path.iterdir()) if path.is_dir() else []


def _check_kind(folder: Folder, name: str, wanted: str) -> None:
    kind = folder.kind(name)
    if kind not in (None, wanted):
        remedy = "remove it or move it elsewhere"
        if kind == "a link":
            remedy += " (links inside a workdir are not followed; the whole workdir may be a link)"
        raise UserError(f"{one_line(folder.path / name)} is {kind}, but a run has {wanted} there: {remedy}")


def written_by(workdir: Path) -> str:
    """Returns the end of a sentence: which other version of gan_jax wrote the workdir; empty if it is this one."""
    version = _read_version(Folder(workdir)).get("gan_jax", THIS)
    return "" if version == THIS else f"; gan_jax {_plain(version)} wrote it, and this is gan_jax {THIS}"


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
            f"{one_line(folder.path)} has the workdir format {number}, and this is gan_jax {THIS}, which reads "
            f"format {FORMAT}: use gan_jax {_plain(tree.get('gan_jax'))}, which wrote it"
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
    tree = {"format": FORMAT, "gan_jax": THIS}
    Folder(workdir).write(_VERSION_FILE, (json.dumps(tree) + "\n").encode())


def remove_temporaries(workdir: Path) -> None:
    """Removes the temporary files that a killed process left. Call it only while the workdir is locked."""
    for below in ("", "samples"):
        Folder(workdir).remove_temporaries(below)
