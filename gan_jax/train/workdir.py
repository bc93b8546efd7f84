"""Guards a workdir: one process trains in it at a time, and always the same run. Its config is `config.json`."""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from .. import config as configs
from ..checkpoint.catalogue import Catalogue
from ..config import Config
from ..config.location import absolute
from ..errors import UserError, one_line
from ..files.folder import Folder
from ..files.typed_json import parse_object
from .layout import CONFIG, LARGEST_JSON, LOCK, Known, check_layout, keep_format, written_by

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Locks a workdir for this process. The lock ends with the process, however that ends.

    Raises:
        UserError: another process trains in it; or, inside the context, the disk refuses what the run writes
            there.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        check_layout(workdir)
        file = Folder(workdir).open(LOCK)
    except OSError as error:
        raise UserError(
            f"can't write to the workdir {one_line(workdir)} ({error.strerror}): choose another"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another run is training in {workdir}: wait for it, or use another --workdir"
            ) from error
        except OSError:  # this file system has no locks, so nothing guards the workdir
            pass
        try:
            for below in ("", "samples"):
                Folder(workdir).remove_temporaries(below)
            yield
        except OSError as error:
            if not _refused(error, workdir):
                raise
            verb = "write to" if error.errno in _DISK_ERRORS else "use"
            raise UserError(
                f"can't {verb} {error.filename or workdir} ({error.strerror}): mend that, then start the same "
                "command again"
            ) from error


def _refused(error: OSError, workdir: Path) -> bool:
    """Returns whether the disk of the workdir refused: it is full, read-only or gone."""
    if isinstance(error.filename, str | os.PathLike):
        return Path(error.filename).absolute().is_relative_to(workdir.absolute())
    return error.errno in _DISK_ERRORS


def read_config(workdir: Path) -> Config:
    """Returns the config of the run in a workdir.

    Raises:
        UserError: the folder has no run, or its config cannot be read.
    """
    check_layout(workdir)
    path = Path(workdir) / CONFIG
    try:
        config = configs.from_json(parse_object(Folder(workdir).read(CONFIG, LARGEST_JSON)))
        configs.validate(config)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{workdir} holds no run (there is no {path.name}): train one there first") from error
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): restore it, or use another workdir") from error
    except UserError as error:
        raise UserError(f"{path} cannot be used: {error}{written_by(workdir)}") from error
    except ValueError as error:
        raise UserError(f"{path} is not a JSON file: restore it, or use another workdir") from error
    return config


def check_config(workdir: Path, config: Config, allowed: Collection[str] | None = ()) -> None:
    """Raises UserError if the workdir belongs to another run. Without a checkpoint there is nothing to protect.

    `allowed`: as for `check_resume`.
    """
    if (workdir / CONFIG).exists() and any((workdir / "checkpoints").glob("*/manifest.json")):
        configs.check_resume(read_config(workdir), config, allowed)


def known_data(workdir: Path) -> Known | None:
    """Returns what the newest checkpoint that can be read says of the data; None without one."""
    catalogue = Catalogue(workdir / "checkpoints")
    for step in reversed(catalogue.steps()):
        with contextlib.suppress(UserError):
            record = catalogue.manifest(step)["record"]
            data, sample = record.get("data"), record.get("sample")
            if isinstance(data, str) and isinstance(sample, dict):  # the rest is checked when it is restored
                names = sample.get("class_names")
                return data, names if isinstance(names, list) else None
    return None


def keep_config(workdir: Path, config: Config) -> None:
    """Writes a run's config, and the format of the workdir, each by one rename."""
    keep_format(workdir)
    text = json.dumps(configs.to_json(absolute(config)), indent=1) + "\n"
    Folder(workdir).write(CONFIG, text.encode())
