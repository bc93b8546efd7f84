"""Where TFDS keeps its prepared sets: DIR/NAME/[CONFIG/]VERSION/dataset_info.json. Reads the disk only."""

import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError, one_line
from .source import locate, reason

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>\w[\w.+\-]*))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True)
class Copy:
    """One prepared copy: its folder, and the file formats that its dataset_info.json lists."""

    path: Path
    config: str | None
    version: str
    formats: tuple[str, ...]

    @property
    def random_access(self) -> bool:
        return "array_record" in self.formats


def data_folder(data_dir: str | None) -> Path:
    """`data_dir`, else the environment's TFDS_DATA_DIR, else ~/tensorflow_datasets as TFDS has it."""
    return locate(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def find_copies(name: str, data_dir: str | None) -> list[Copy]:
    """The prepared copies of "NAME[/CONFIG][:VERSION]", the newest version first.

    Where a set has configs and the name tells none, its default config is meant. Raises UserError for a
    malformed name, several configs without a default, or an unreadable dataset_info.json.
    """
    wanted = _NAME.fullmatch(name)
    if wanted is None:
        raise UserError(f"'{one_line(name)}' is not the name of a TFDS set: write it as NAME[/CONFIG][:1.2.3]")
    root = locate(str(data_folder(data_dir) / wanted["name"]))
    config = wanted["config"]
    if config is None and not _versions(root):
        config = _only_config(root)
    folders = _versions(locate(str(root / config)) if config else root)
    return [
        Copy(folder, config, folder.name, _formats(folder / "dataset_info.json"))
        for folder in folders
        if wanted["version"] in (None, folder.name)
    ]


def prepare_command(name: str, data_dir: str | None) -> str:
    words = ["gan-jax", "prepare", name, *(["--data-dir", str(data_dir)] if data_dir else [])]
    return shlex.join(words)


def _versions(folder: Path) -> list[Path]:
    found = [info.parent for info in folder.glob("*/dataset_info.json") if _VERSION.fullmatch(info.parent.name)]
    return sorted(found, key=lambda path: [int(part) for part in path.name.split(".")], reverse=True)


def _only_config(root: Path) -> str | None:
    configs = sorted(path.name for path in root.glob("*") if path.is_dir() and _versions(path))
    if len(configs) > 1:
        default = _read_json(root / ".config" / "metadata.json").get("default_config_name")
        if default not in configs:
            raise UserError(f"'{root.name}' has several configs: name one of {', '.join(configs)}")
        return default
    return configs[0] if configs else None


def _formats(info: Path) -> tuple[str, ...]:
    content = _read_json(info)
    # TFDS wrote no format while tfrecord was the only one.
    formats = [content.get("fileFormat") or "tfrecord", *(content.get("alternativeFileFormats") or [])]
    if not all(isinstance(one, str) for one in formats):
        raise UserError(f"'{info}' cannot be read: its file formats are no names")
    return tuple(formats)


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{one_line(path)}' cannot be read: {reason(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"'{path}' cannot be read: it is not a JSON object")
    return content
