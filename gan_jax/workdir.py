"""Whose a workdir is: one run at a time, and always the same run. Its config lies in `config.json`."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from . import config as configs
from .config import Config
from .errors import UserError


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """One run at a time in a workdir; the lock goes with the process, however it ends."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = open(workdir / ".lock", "w")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"can't write to the workdir {workdir} ({error.strerror}): choose another") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another run is training in {workdir}: wait for it, or use another --workdir"
            ) from error
        except OSError:  # a file system without locks: nothing guards the workdir there
            pass
        yield


def read_config(workdir: Path) -> Config:
    """The config that a workdir's run was started with.

    Raises:
        UserError: the folder holds no run.
    """
    path = Path(workdir) / "config.json"
    try:
        return configs.from_json(json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{workdir} holds no run (there is no {path.name}): train one there first") from error
    except ValueError as error:
        raise UserError(f"{path} is not a JSON file: restore it, or use another workdir") from error


def check_config(workdir: Path, config: Config) -> None:
    """Another run's workdir is refused; one where no checkpoint was ever kept holds nothing to protect."""
    if (workdir / "config.json").exists() and any((workdir / "checkpoints").glob("*/manifest.json")):
        configs.check_resume(read_config(workdir), config)


def keep_config(workdir: Path, config: Config) -> None:
    temporary = workdir / "config.json.tmp"
    with open(temporary, "w") as file:
        file.write(json.dumps(configs.to_json(config), indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(workdir / "config.json")
