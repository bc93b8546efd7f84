"""Networks of ours in one safetensors file: arrays by name, and the config, the classes and the run in the header.

The format is a JSON header and the bytes of the arrays: nothing in it is executed. It is read by the library
`safetensors`, which checks that the header is of bounded size and that the arrays lie inside the file.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from .. import config as configs
from ..config import Config
from ..config.build import Allow, SampleSpec
from ..errors import UserError, first_line, one_line
from ..files.folder import write_atomically
from ..files.typed_json import check, parse_object
from ..train.layout import this_version
from ..train.open_run import OpenedRun
from .exported import FORMAT, PLAYERS, describe, variables
from .new_workdir import write_workdir

_LARGEST_JSON = 2**24  # characters: a thousand times what a config needs


class Exported(NamedTuple):
    """What the header of an exported file says of its run."""

    config: Config
    spec: SampleSpec
    step: int
    data: str
    rate: float | None


def write(run: OpenedRun, path: Path, players: Collection[str] = PLAYERS) -> None:
    """Writes networks of a run: `generator/params/...` of its moving average, `discriminator/params/...`."""
    write_atomically(path, content(run, players))


def content(run: OpenedRun, players: Collection[str] = PLAYERS) -> bytes:
    """Returns the bytes of the file that `write` writes."""
    arrays = {f"{name}/{at}": array for name in players for at, array in variables(run, name).items()}
    return safetensors.numpy.save(arrays, metadata=describe(run))


def read(path: Path, allow: Allow = ()) -> tuple[Exported, dict[str, dict[str, np.ndarray]]]:
    """Returns what an exported file says of its run, and the variables of each network by their paths.

    Raises:
        UserError: it is no such file, it is damaged, or something in its header has another form.
    """
    header = _read_header(_header(path), path)
    arrays: dict[str, dict[str, np.ndarray]] = {}
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            for name in list(file.keys()):
                player, _, at = name.partition("/")
                if player not in PLAYERS:
                    raise UserError(f"{one_line(path)} has an array {one_line(name, 100)}, which is of no network")
                arrays.setdefault(player, {})[at] = file.get_tensor(name)
    except (safetensors.SafetensorError, OSError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    return header, arrays


def import_exported(path: Path, workdir: Path, allow: Allow = ()) -> list[str]:
    """Writes a workdir with the networks of an exported file, and returns lines that say what is in it.

    Raises:
        UserError: see `read` and `write_workdir`.
    """
    header, arrays = read(path, allow)
    if "generator" not in arrays:
        raise UserError(f"{one_line(path)} has no generator, which a run needs: export it with --network both")
    write_workdir(
        workdir, header.config, header.spec, arrays["generator"], arrays.get("discriminator"), str(path),
        data=header.data, rate=header.rate, allow=allow,
    )  # fmt: skip
    critic = "its discriminator" if "discriminator" in arrays else "a new discriminator"
    return [f"{workdir}: {header.config.name} at step {header.step}, its moving average and {critic}"]


def _header(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise UserError(f"there is no file {one_line(path)}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    reason = one_line(first_line(error), 200)
    return UserError(f"{one_line(path)} can't be read as safetensors ({reason}): get the file again")


def _read_header(header: dict[str, str], path: Path) -> Exported:
    if "config" not in header:
        raise UserError(
            f"the header of {one_line(path)} has no config of gan_jax: if these are published weights, say of "
            "which architecture with --as"
        )
    if header.get("format") != str(FORMAT):
        raise UserError(
            f"{one_line(path)} has the export format {one_line(header.get('format'), 20)}, and this is gan_jax "
            f"{this_version()}, which reads format {FORMAT}: use gan_jax {one_line(header.get('gan_jax'), 30)}, "
            "which wrote it"
        )
    try:
        config = configs.from_json(_object(header["config"], "config"))
        configs.validate(config)
        sample = _object(header.get("sample", ""), "sample")
        step = header.get("step", "")
        if not (step.isdecimal() and len(step) < 19):
            raise ValueError("step is no number")
        check(header.get("data"), str, "data")
        rate = None if "rate" not in header else float(header["rate"])
        if rate is not None and not 0 < rate < 2**31:
            raise ValueError("rate is no rate")
        return Exported(config, read_spec(sample), int(step), header["data"], rate)
    except (ValueError, UserError) as error:
        raise UserError(
            f"the header of {one_line(path)} cannot be used ({one_line(error)}): export the run again"
        ) from error


def _object(text: str, name: str) -> dict[str, Any]:
    if len(text) > _LARGEST_JSON:
        raise ValueError(f"{name} is too long")
    try:
        return parse_object(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def read_spec(sample: dict[str, Any]) -> SampleSpec:
    """Returns what the samples of a run are, as `describe` wrote it.

    Raises:
        ValueError: it has another form.
    """
    kinds: dict[str, Any] = {
        "shape": list[int], "dtype": str, "classes": int | None, "class_names": list[str] | None,
    }  # fmt: skip
    for name, kind in kinds.items():
        check(sample.setdefault(name), kind, f"sample.{name}")
    shape, dtype, classes, names = (sample[name] for name in kinds)
    fits = dtype in ("uint8", "float32") and all(0 < size < 2**20 for size in shape)
    if not fits or (names is not None and len(names) != classes) or (classes is not None and classes < 1):
        raise ValueError("sample does not describe samples")
    return SampleSpec(tuple(shape), dtype, classes, None if names is None else tuple(names))
