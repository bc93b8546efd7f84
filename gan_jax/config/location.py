"""Where the data of a run lie: replaces the location in a config, because a run is tied to the content alone."""

import dataclasses
import os

from ..data.file_kinds import is_named_image
from ..data.source import expand_path
from ..errors import UserError
from .build import Allow
from .resolve import Call, default, keywords, resolve
from .schema import HOMES, Config

_LOCATIONS = ("path", "data_dir")  # the keywords of data sources that name a file or a folder


def located(config: Config, path: str, allow: Allow = None) -> Config:
    """Returns the config with its data at `path`: `path` of a folder or a file, `data_dir` of a TFDS set.

    Where a source reads from another source, such as `stacked`, the innermost one gets the location.

    Args:
        path: a file or a folder, as the data source takes it.
        allow: see `resolve`.

    Raises:
        UserError: the data source has no location, or there is no such source.
    """
    source = _located(config.data.source, path, allow)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, source=source))


def absolute(config: Config) -> Config:
    """Returns the config with absolute locations of its data, so that the run finds them from any folder."""
    source = _absolute(config.data.source)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, source=source))


def _absolute(call: Call) -> Call:
    changed: dict[str, object] = {}
    for name, value in call.items:
        if isinstance(value, Call):
            changed[name] = _absolute(value)
        elif name in _LOCATIONS and isinstance(value, str) and os.path.exists(os.path.expanduser(value)):
            changed[name] = os.path.abspath(os.path.expanduser(value))  # others may be URLs
    return Call(call.name, **{**call.kwargs, **changed})


def unplaced(config: Config) -> Config:
    """Returns the config with the last part of each absolute path: it is for others, who have other folders."""
    data, metrics = config.data, config.metrics
    data = dataclasses.replace(data, source=_unplaced(data.source))
    metrics = dataclasses.replace(metrics, features=_unplaced(metrics.features))
    return dataclasses.replace(config, data=data, metrics=metrics)


def _unplaced(call: Call) -> Call:
    def last(value: object) -> object:
        if isinstance(value, Call):
            return _unplaced(value)
        if isinstance(value, tuple):
            return tuple(last(item) for item in value)
        if isinstance(value, str) and os.path.isabs(os.path.expanduser(value)):
            return os.path.basename(value.rstrip("/"))
        return value

    return Call(call.name, **{name: last(value) for name, value in call.items})


def _own_images(path: str, name: str) -> str | None:
    """Returns the source that reads what is at a path, if it is a file or holds images, and no TFDS set `name`."""
    place = expand_path(path)
    if place.is_file():
        return {".npz": "npz", ".parquet": "parquet"}.get(place.suffix.lower(), "folder")
    if (place / name.split(":")[0].split("/")[0]).is_dir() or any(place.glob("*/*/dataset_info.json")):
        return None  # a folder of TFDS sets
    for _, _, files in os.walk(place):
        for file in files:
            if is_named_image((file,)):
                return "folder"
            if file.endswith(".parquet"):
                return "parquet"
    return None


def _located(call: Call, path: str, allow: Allow) -> Call:
    home = HOMES["data.source"]
    function = resolve(call.name, home.module, home.attribute, allow=allow)
    known, _ = keywords(function)
    inner = {name: call.kwargs.get(name, default(function, name)) for name in {**known, **call.kwargs}}
    for name, value in inner.items():
        if isinstance(value, Call):
            return Call(call.name, **{**call.kwargs, name: _located(value, path, allow)})
    for name in _LOCATIONS:
        if name in known:
            if name == "data_dir" and (kind := _own_images(path, str(inner.get("name")))):
                raise UserError(
                    f"--data {path}: the data of this config are the TFDS set '{inner.get('name')}', which is not "
                    f"there: to train on your own images, set data.source={kind} "
                    f"data.source.path={path}, or write a config for them by `gan-jax init my.py --data {path}`"
                )
            return Call(call.name, **{**call.kwargs, name: path})
    raise UserError(
        f"--data {path}: the data of this run come from the source {call.name}, which reads none of your files: "
        "leave --data out"
    )
