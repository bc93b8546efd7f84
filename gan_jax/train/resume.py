"""Checks whether a checkpoint belongs to the run that goes on from it."""

from collections.abc import Collection, Mapping
from typing import Any

from .. import config as configs
from ..config import Config
from ..errors import UserError, one_line


def check_record(
    record: Mapping[str, Any], config: Config, fingerprint: str, allowed: Collection[str] = ()
) -> None:
    """Raises UserError if the run of a checkpoint has another config, or other data, except what is allowed."""
    check_fields(record)
    saved = configs.from_json(record["config"])
    configs.check_resume(saved, config, allowed)
    if record["data"] != fingerprint and "data" not in allowed:
        changed = configs.data_differences(saved, config)
        raise UserError(
            f"the data are not those that this run began with (they were {one_line(record['data'])}, they are "
            f"{one_line(fingerprint)}{changed and '; '}{changed}): restore them, use another --workdir, or "
            "add --allow-change data"
        )


def check_fields(record: Mapping[str, Any]) -> None:
    """Raises UserError if the record of a checkpoint was not written by a run."""
    wanted = {"config": dict, "sample": dict, "data": str, "environment": dict}
    if missing := [name for name, kind in wanted.items() if not isinstance(record.get(name), kind)]:
        raise UserError(f"gan-jax train did not write this checkpoint: its record has no {missing[0]}")
    if type(record.get("returned", 0)) is not int:
        raise UserError("gan-jax train did not write this checkpoint: `returned` in its record is not an integer")
    sample = record["sample"]
    shape, classes, names = sample.get("shape"), sample.get("classes"), sample.get("class_names")
    whole = isinstance(shape, list) and all(type(size) is int and size > 0 for size in shape)
    named = names is None or (
        isinstance(names, list) and len(names) == classes and all(isinstance(name, str) for name in names)
    )
    typed = sample.get("dtype") in ("uint8", "float32") and isinstance(classes, int | None)
    if not (whole and named and typed):
        raise UserError("gan-jax train did not write this checkpoint: its record does not describe its samples")


def elsewhere(then: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Returns a line if a run is resumed on other devices or versions; None if on the same."""
    known = [name for name in now if name in then]  # an older checkpoint says less
    changed = [
        f"{name} {one_line(then[name])} -> {one_line(now[name])}" for name in known if then[name] != now[name]
    ]
    if not changed:
        return None
    return f"resumed elsewhere ({', '.join(changed)}): results agree to rounding, not bit for bit"
