"""What a run changed on the way: a row for each field, in the records of its checkpoints and in `history.jsonl`.

The record of a checkpoint has the rows up to its step. So a run that goes on from an earlier checkpoint has the
right history, and the file is written anew from it.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from .. import config as configs
from ..config.build import SampleSpec
from ..data.classes import describe_data
from ..errors import UserError, one_line
from ..files.folder import Folder
from ..files.typed_json import check
from .class_names import renamed
from .layout import HISTORY, this_version
from .prepare import Prepared
from .resume import has_new_data

RECORD = "history"
CLASS_NAMES = "class names"  # the field of the row where classes get other names
Row: TypeAlias = dict[str, Any]


def read_history(record: Mapping[str, Any]) -> list[Row]:
    """Returns the rows in the record of a checkpoint.

    Raises:
        UserError: a run did not write them.
    """
    rows = record.get(RECORD, [])
    try:
        check(rows, list[dict[str, str | int | float | bool]], RECORD)
    except ValueError as error:
        raise UserError(f"gan-jax train did not write this checkpoint: {one_line(error)}") from None
    return list(rows)


def changes(step: int, record: Mapping[str, Any], prepared: Prepared, allowed: Collection[str]) -> list[Row]:
    """Returns a row for each allowed field that differs from the checkpoint of `step` with this record.

    Other names of the same classes need no permission, but a step that is left.

    Raises:
        UserError: there are some, but no steps are left to train with them.
    """
    if not record:  # at step 0 without a checkpoint, the run begins with its config
        return []
    config, stamp = prepared.config, {"time": datetime.now(UTC).isoformat(timespec="seconds")}
    stamp["gan_jax"] = this_version()
    saved, found = configs.from_json(record["config"]), []
    new_data = has_new_data(record, prepared)
    if new_data:
        found.append(("data", record["data"], prepared.fingerprint))
    for path, before, after, free in configs.differences(saved, config):
        # Another place of the same data is no change.
        if not free and configs.is_allowed(path, allowed) and (new_data or not configs.is_data(path)):
            found.append((path, _plain(before), _plain(after)))
    if found and step >= config.steps:
        raise UserError(
            f"{found[0][0]} changes, but this run is at step {step} already and steps={config.steps} adds none: "
            "raise steps"
        )
    if step < config.steps and (names := renamed(record["sample"], prepared)) is not None:
        found.append((CLASS_NAMES, *names.words()))
    rows = [{"step": step, "field": path, "before": old, "after": new, **stamp} for path, old, new in found]
    if new_data:
        rows[0] |= {"text": _data_text(record, prepared)}
    return rows


def _data_text(record: Mapping[str, Any], prepared: Prepared) -> str:
    """Returns how many samples and which classes there were and are, in words."""
    known, now = record["sample"], SampleSpec.of(prepared.source)._asdict()
    before, after = (
        describe_data(tuple(sample["shape"]), _count(data), _names(sample))
        for sample, data in ((known, record["data"]), (now, prepared.fingerprint))
    )
    return f"{before} -> the same number, with other contents" if before == after else f"{before} -> {after}"


def _count(fingerprint: str) -> int | None:
    """Returns the number of samples that a fingerprint of a source of gan_jax says."""
    found = re.search(r" n=(\d{1,18}) ", fingerprint)
    return None if found is None else int(found[1])


def _names(sample: Mapping[str, Any]) -> Sequence[str] | None:
    classes = sample["classes"]
    return sample.get("class_names") or (None if classes is None else [str(number) for number in range(classes)])


def text(row: Row) -> str:
    """Returns a row as a line to print."""
    before, after = one_line(row["before"], 100), one_line(row["after"], 100)
    words = one_line(row.get("text", f"{before} -> {after}"))  # `text` says it without fingerprints
    return f"changed at step {row['step']}: {one_line(row['field'])} {words}"


def write_history(workdir: Path, rows: list[Row]) -> None:
    """Writes `history.jsonl` by one rename; a run that changed nothing gets no file."""
    folder = Folder(workdir)
    if rows or folder.kind(HISTORY) is not None:
        folder.write(HISTORY, "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode())


def _plain(value: object) -> str | int | float:
    return value if type(value) in (int, float) else configs.value_text(value)  # type: ignore[return-value]
