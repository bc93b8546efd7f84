"""Checks whether a checkpoint belongs to the run that goes on from it."""

from collections.abc import Collection, Mapping
from typing import Any

from .. import config as configs
from ..data.source import fingerprint_before
from ..errors import UserError, one_line
from .class_names import check_names
from .prepare import Prepared

IMPORTED = "imported"  # in the record of a checkpoint: the file that its networks were imported from


def check_record(record: Mapping[str, Any], prepared: Prepared, allowed: Collection[str] = ()) -> list[str]:
    """Checks that a checkpoint is of this run, except what is allowed to change.

    Returns:
        Notes on the data that are not those of the checkpoint, though the run may go on with them.

    Raises:
        UserError: the run of the checkpoint has another config, other data, or other classes.
    """
    check_fields(record)
    if IMPORTED in record:
        raise UserError(
            f"this workdir holds networks imported from {one_line(record[IMPORTED])}, and no run to go on with: "
            "begin one in another --workdir, with init_from=THIS_WORKDIR"
        )
    config, fingerprint = prepared.config, prepared.fingerprint
    saved = configs.from_json(record["config"])
    configs.check_resume(saved, config, allowed)
    new_data = has_new_data(record, prepared)
    if new_data and "data" not in allowed:
        changed = configs.data_differences(saved, config)
        raise UserError(
            f"the data are not those that this run began with (they were {one_line(record['data'])}, they are "
            f"{one_line(fingerprint)}{changed and '; '}{changed}): restore them, use another --workdir, or "
            "add --allow-change data"
        )
    notes = check_names(record["sample"], prepared, new_data)
    if not new_data and record["data"] != fingerprint:
        notes.append(
            "note: gan_jax 0.1 knew the data of this run by the names and sizes of the files alone: from now on "
            "their contents are checked"
        )
    return notes


def has_new_data(record: Mapping[str, Any], prepared: Prepared) -> bool:
    """Returns whether the data differ from those of a checkpoint, as far as its fingerprint tells."""
    return record["data"] != prepared.fingerprint and record["data"] != fingerprint_before(prepared.source)


def check_fields(record: Mapping[str, Any]) -> None:
    """Raises UserError if the record of a checkpoint was not written by a run."""
    wanted = {"config": dict, "sample": dict, "data": str, "environment": dict}
    if missing := [name for name, kind in wanted.items() if not isinstance(record.get(name), kind)]:
        raise UserError(f"gan-jax train did not write this checkpoint: its record has no {missing[0]}")
    if type(record.get("returned", 0)) is not int:
        raise UserError("gan-jax train did not write this checkpoint: `returned` in its record is not an integer")
    rate = record.get("rate", 1.0)
    if type(rate) is not float or not 0 < rate < 2**31:
        raise UserError("gan-jax train did not write this checkpoint: `rate` in its record is not a rate")
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
