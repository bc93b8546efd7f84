"""The record of one measured number: everything that has to be equal before two are compared."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..errors import UserError

EVALUATIONS = "evaluations.jsonl"  # in a workdir: its records
QUANTISATION = "uint8, round to nearest, clipped"


def versions() -> dict[str, str]:
    """Of what computed the number."""
    return {"gan_jax": metadata.version("gan_jax"), "jax": jax.__version__, "numpy": np.__version__}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One number, and how it was measured.

    Attributes:
        metric: "frechet", "kernel", "inception_score", "precision", ...
        value: the number.
        error, error_meaning: its uncertainty and what that is ("std over 100 subsets of 1000"); both or neither.
        features: the extractor's name; weights: the first 16 hexadecimal digits of its weights' SHA-256.
        resize: how images are brought to the extractor's size ("64 px bilinear antialias", "none").
        quantisation: how generated images become bytes.
        reference: fingerprint of the data; split: which part of it ("train").
        reference_count, generated_count: samples on each side.
        seed: of the generated samples.
        step: of the run; None for a generator of no run.
        options: of the metric (k, subsets, truncation, ...): what JSON can hold.
        notes: sentences that a reader of the number needs.
        versions: as `versions()`.

    Raises:
        ValueError: an error without its meaning, or the reverse.
        TypeError: options that JSON can't hold.
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
    error: float | None = None
    error_meaning: str | None = None
    quantisation: str = QUANTISATION
    options: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=versions)

    def __post_init__(self) -> None:
        if (self.error is None) != (self.error_meaning is None):
            raise ValueError(f"the error of {self.metric} needs its meaning: give both, or neither")
        # What is kept is what is read back: tuples are lists, keys are strings.
        object.__setattr__(self, "options", json.loads(json.dumps(self.options)))
        object.__setattr__(self, "notes", tuple(self.notes))
        object.__setattr__(self, "value", float(self.value))
        if self.error is not None:
            object.__setattr__(self, "error", float(self.error))

    def to_json(self) -> dict[str, Any]:
        """What strict JSON can hold; a value that is not finite is "inf", "-inf" or "nan"."""
        fields = dataclasses.asdict(self) | {"notes": list(self.notes)}
        return {name: _shown(value) if isinstance(value, float) else value for name, value in fields.items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Record":
        """The record that `to_json` gave; what a later version added is left out.

        Raises:
            UserError: fields are missing, or are not what they should be.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        try:
            return cls(**{name: value for name, value in fields.items() if name in known})
        except (TypeError, ValueError) as error:
            raise UserError(f"this is no record of a metric ({error}): measure it again") from error

    def text(self) -> str:
        """One line: the number, and what it depends on."""
        error = "" if self.error is None else f" ± {self.error:.2g} ({self.error_meaning})"
        parts = [f"{self.features} #{self.weights[:6]}"]
        parts += [] if self.resize == "none" else [self.resize]
        parts += [] if self.quantisation == QUANTISATION else [self.quantisation]
        reals = f"{self.reference_count} {self.split or 'reals'}"
        parts += [f"{self.generated_count} generated vs {reals}", f"seed {self.seed}"]
        parts += [] if self.step is None else [f"step {self.step}"]
        parts += [f"{name} {value}" for name, value in self.options.items()]
        notes = "".join(f" [{note}]" for note in self.notes)
        return f"{self.metric} {_number(self.value)}{error} ({', '.join(parts)}){notes}"


def append(path: Path, record: Record) -> None:
    """Adds the record to a file of one JSON object a line, on disk when this returns.

    It is one write at the file's end, so that processes that append at once don't mix lines. A line that a
    killed process left torn is ended first, and stays alone.
    """
    line = (json.dumps(record.to_json(), sort_keys=True, allow_nan=False) + "\n").encode()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b", buffering=0) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)
        os.fsync(file.fileno())


def read(path: Path) -> list[Record]:
    """The records of a file that `append` wrote, in order, without lines that are torn or of something else."""
    path = Path(path)
    records = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            records.append(Record.from_json(json.loads(line)))
        except (UserError, ValueError, AttributeError):
            continue
    return records


def _shown(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _number(value: float) -> str:
    """At least four digits, without a power of ten where that can be read."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    return f"{value:.2f}" if size >= 10 else f"{value:.4f}" if size >= 0.01 or size == 0 else f"{value:.3e}"
