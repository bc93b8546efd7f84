"""The record of one measured number, with all that must be equal before two numbers may be compared."""

import dataclasses
import functools
import json
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..errors import UserError
from ..files import json_lines
from ..files.folder import Folder
from ..files.typed_json import check

EVALUATIONS = "evaluations.jsonl"  # the file of records in a workdir
QUANTISATION = "uint8, round to nearest, clipped"


def versions() -> dict[str, str]:
    """Returns the versions of the packages that compute a number."""
    return {"gan_jax": metadata.version("gan_jax"), "jax": jax.__version__, "numpy": np.__version__}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One number, and how it was measured.

    Attributes:
        metric: "frechet", "kernel", "inception_score", "precision", ...
        value: the number.
        error: its uncertainty, or None.
        error_meaning: what the uncertainty is ("std over 100 subsets of 1000"); None if `error` is None.
        features: name of the extractor.
        weights: the first 16 hexadecimal digits of the SHA-256 of the extractor's weights.
        resize: how images are resized for the extractor ("64 px bilinear antialias", "none").
        quantisation: how generated images become bytes.
        reference: fingerprint of the data.
        generated: fingerprint of the second of two sets that are compared; None for images of a generator.
        split: part of the data ("train"); empty if the data have no parts.
        reference_count, generated_count: the numbers of real and of generated images.
        size: the number of features; 0: not known. It is not written, so that the records of a run stay as they
            were, and it is no part of what makes two records equal.
        seed: of the generated images.
        step: of the run; None if the generator belongs to no run.
        options: of the metric (k, subsets, truncation, ...), as JSON values.
        notes: sentences that a reader of the number needs.
        versions: see `versions()`.

    Raises:
        ValueError: one of `error` and `error_meaning` is None and the other is not.
        TypeError: an option is not a JSON value.
    """

    metric: str
    value: float
    features: str
    weights: str
    resize: str
    reference: str
    split: str
    reference_count: int
    generated_count: int
    seed: int
    step: int | None = None
    generated: str | None = None
    size: int = field(default=0, compare=False)
    error: float | None = None
    error_meaning: str | None = None
    quantisation: str = QUANTISATION
    options: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=versions)

    def __post_init__(self) -> None:
        if (self.error is None) != (self.error_meaning is None):
            raise ValueError(f"the error of {self.metric} and its meaning belong together: give both, or neither")
        # As they are read back from a file: tuples become lists, keys become strings.
        object.__setattr__(self, "options", json.loads(json.dumps(self.options)))
        object.__setattr__(self, "notes", tuple(self.notes))
        object.__setattr__(self, "value", float(self.value))
        if self.error is not None:
            object.__setattr__(self, "error", float(self.error))

    def to_json(self) -> dict[str, object]:
        """Returns the fields as strict JSON values; a number that is not finite becomes "inf", "-inf" or "nan"."""
        fields = dataclasses.asdict(self) | {"notes": list(self.notes)}
        del fields["size"]
        if self.generated is None:  # the records of runs are as those of versions without this field
            del fields["generated"]
        return {name: _json_number(value) if isinstance(value, float) else value for name, value in fields.items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Record":
        """Returns the record that `to_json` describes. Fields of later versions are ignored.

        Raises:
            UserError: fields are missing or have wrong values.
        """
        try:
            return _parse(fields)
        except ValueError as error:
            raise UserError(f"this is not a record of a metric ({error}): measure it again") from error

    def text(self) -> str:
        """Returns one line: the number, and all that it depends on."""
        error = "" if self.error is None else f" ± {readable(self.error)} ({self.error_meaning})"
        split = f" of split {self.split}" if self.split else ""
        parts = [
            f"{self.generated_count} generated images against {self.reference_count} real images{split}",
            f"seed {self.seed}",
            *([] if self.step is None else [f"step {self.step}"]),
            f"features {self.features}",
            f"weights {self.weights[:6]}",
            *([] if self.resize == "none" else [f"resize {self.resize}"]),
            *([] if self.quantisation == QUANTISATION else [f"quantisation {self.quantisation}"]),
            *(f"{name} {value}" for name, value in self.options.items()),
        ]
        notes = "".join(f"; note: {note}" for note in self.notes)
        return f"{self.metric} {readable(self.value)}{error}: {', '.join(parts)}{notes}"


def append(path: Path, record: Record) -> None:
    """Appends the record to a file of one JSON object a line; see `json_lines.append`."""
    json_lines.append(Folder(path.parent), path.name, record.to_json())


def append_new(workdir: Path, records: Iterable[Record]) -> None:
    """Appends records to the workdir's file, without those that it has already.

    A run that was killed after a measurement measures again when it resumes. Its file is then the same as that of
    a run that was never killed.
    """
    path = workdir / EVALUATIONS
    known = read(path).rows
    for record in records:
        if record not in known:
            append(path, record)


def read(path: Path) -> json_lines.Rows[Record]:
    """Returns the records in a file that `append` wrote, and a note about lines that are no record."""
    return json_lines.read(Folder(path.parent), path.name, _parse)


def rewind(workdir: Path, step: int) -> str | None:
    """Removes the records of steps after `step` from the workdir's file: the run makes these steps again.

    Returns:
        A note about lines that are no record, or None.
    """
    return json_lines.rewind(
        Folder(workdir), EVALUATIONS, _parse, lambda one: one.step is None or one.step <= step
    )


@functools.cache
def _field_types() -> dict[str, Any]:
    return typing.get_type_hints(Record)


def _parse(fields: Mapping[str, Any]) -> Record:
    """Returns the record that `Record.to_json` describes; raises ValueError if it is none."""
    hints = _field_types()
    known = {name: value for name, value in fields.items() if name in hints}
    for name in ("value", "error"):
        if known.get(name) in ("inf", "-inf", "nan"):
            known[name] = float(known[name])
    for name, value in known.items():
        check(value, hints[name], name)
    try:
        return Record(**known)
    except TypeError as error:  # a field is missing
        raise ValueError(str(error)) from error


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def readable(value: float) -> str:
    """Returns a number as every table and line shows it.

    It has at least four digits, and an exponent only if it is below 0.01, or a million or more.
    """
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e6:
        return f"{value:.3e}"
    return f"{value:.2f}" if size >= 10 else f"{value:.4f}" if size >= 0.01 or size == 0 else f"{value:.3e}"
