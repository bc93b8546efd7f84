"""Finds prepared TFDS sets on disk: DIR/NAME/[CONFIG/]VERSION/dataset_info.json. Does not import TFDS."""

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line
from ..files.typed_json import parse_object
from .source import expand_path, reason

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>\w[\w.+\-]*))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True)
class Copy:
    """One prepared copy of a set: its folder, and the file formats in its dataset_info.json."""

    path: Path
    config: str | None
    version: str
    formats: tuple[str, ...]

    @property
    def has_array_record(self) -> bool:
        return "array_record" in self.formats


def data_folder(data_dir: str | None) -> Path:
    """Returns `data_dir`, else the environment variable TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return expand_path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def find_copies(name: str, data_dir: str | None) -> list[Copy]:
    """Returns the prepared copies of the set "NAME[/CONFIG][:VERSION]", newest version first.

    If the set has configs and the name gives none, the default config is used. Raises UserError for a malformed
    name, for several configs without a default, and for an unreadable dataset_info.json.
    """
    wanted = _NAME.fullmatch(name)
    if wanted is None:
        raise UserError(f"'{one_line(name)}' is not the name of a TFDS set: write it as NAME[/CONFIG][:1.2.3]")
    root = expand_path(str(data_folder(data_dir) / wanted["name"]))
    config = wanted["config"]
    if config is None and not _versions(root):
        config = _default_config(root)
    folders = _versions(expand_path(str(root / config)) if config else root)
    return [
        Copy(folder, config, folder.name, _formats(folder / "dataset_info.json"))
        for folder in folders
        if wanted["version"] in (None, folder.name)
    ]


def prepare_command(name: str, data_dir: str | None) -> str:
    """Returns the shell command that prepares the set."""
    words = ["gan-jax", "prepare", name, *(["--data-dir", str(data_dir)] if data_dir else [])]
    return shlex.join(words)


def _versions(folder: Path) -> list[Path]:
    found = [info.parent for info in folder.glob("*/dataset_info.json") if _VERSION.fullmatch(info.parent.name)]
    return sorted(found, key=lambda path: [int(part) for part in path.name.split(".")], reverse=True)


def _default_config(root: Path) -> str | None:
    configs = sorted(path.name for path in root.glob("*") if path.is_dir() and _versions(path))
    if len(configs) > 1:
        default = _read_json(root / ".config" / "metadata.json").get("default_config_name")
        if default not in configs:
            raise UserError(f"'{root.name}' has several configs: name one of {', '.join(configs)}")
        return default
    return configs[0] if configs else None


def _formats(info: Path) -> tuple[str, ...]:
    content = _read_json(info)
    # Old versions of TFDS had only tfrecord and did not write the format.
    formats = [content.get("fileFormat") or "tfrecord", *(content.get("alternativeFileFormats") or [])]
    if not all(isinstance(name, str) for name in formats):
        raise UserError(f"'{info}' cannot be read: its file formats are not text")
    return tuple(formats)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return parse_object(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"'{one_line(path)}' cannot be read: {reason(error)}") from error
