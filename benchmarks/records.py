"""One measured figure as one line of JSON."""

import dataclasses
import datetime
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .machine import Machine
from .suites import Row


@dataclasses.dataclass(frozen=True)
class Record:
    """What was timed, on what, and how long it took; None where a figure does not apply or was not measured.

    Attributes:
        implementation: gan_jax, torch_eager, torch_tuned, torch_compile, jax_tutorial or keras.
        mode: of gan_jax's step ("jit", "shard", "pmap", "fused"), or which part.
        step_ms_median, step_ms_min, step_ms_max: milliseconds of one training step, or of one call of a part.
        samples: how many samples the median is of.
        flops: of one step, as the compiler counts gan_jax's.
        peak_fraction: `flops` a second over one device's matrix product in the row's precision, from the same run.
        memory_bytes: of the device, that the program needs. host_memory_bytes: the process's peak so far.
        virtual: the devices are shares of one CPU.
        note: why there is no figure, or what to know of it.
    """

    suite: str
    case: str
    implementation: str
    mode: str
    precision: str
    batch: int
    devices: int
    step_ms_median: float | None
    step_ms_min: float | None
    step_ms_max: float | None
    samples: int
    images_per_second: float | None
    images_per_second_per_device: float | None
    seconds_per_kimg: float | None
    compile_s: float | None
    first_step_s: float | None
    flops: float | None
    peak_fraction: float | None
    memory_bytes: int | None
    host_memory_bytes: int | None
    device: str
    virtual: bool
    versions: dict[str, str]
    flags: dict[str, str]
    commit: str
    time: str
    note: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two records comparable."""
        return (self.suite, self.case, self.implementation, self.mode, self.precision, self.batch, self.devices)


def record(row: Row, machine: Machine) -> Record:
    """The record of a row measured on `machine`."""
    ms = row.sample.median if row.sample else None
    images = 1e3 * row.batch / ms if ms else None
    runner = row.runner
    # Programs are one device's: real devices each have the peak, virtual ones share it.
    virtual = row.devices > 1 and machine.platform == "cpu"
    peak = machine.gflops.get(row.precision, 0.0) / (row.devices if virtual else 1)
    return Record(
        suite=row.suite, case=row.case, implementation=row.implementation, mode=row.mode, precision=row.precision,
        batch=row.batch, devices=row.devices,
        step_ms_median=ms,
        step_ms_min=row.sample.least if row.sample else None,
        step_ms_max=row.sample.most if row.sample else None,
        samples=row.sample.count if row.sample else 0,
        images_per_second=images,
        images_per_second_per_device=images / row.devices if images else None,
        seconds_per_kimg=1e3 / images if images else None,
        compile_s=runner.compile_s, first_step_s=runner.first_s, flops=runner.flops,
        peak_fraction=runner.flops / ms / 1e6 / peak if runner.flops and ms and peak else None,
        memory_bytes=runner.memory_bytes, host_memory_bytes=machine.host_memory_bytes(),
        device=machine.device, virtual=virtual,
        versions=machine.versions, flags=machine.flags, commit=machine.commit,
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), note=row.note,
    )  # fmt: skip


def write(path: Path, records: Iterable[Record]) -> None:
    """Append a line for each record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(dataclasses.asdict(one)) + "\n" for one in records)


def read(path: Path) -> list[Record]:
    """The records of a file.

    Raises:
        ValueError: it can't be read, or a line is no record.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(Record(**json.loads(line)))
            figures = (found[-1].step_ms_median, found[-1].step_ms_min, found[-1].step_ms_max)
            if not all(t is None or (isinstance(t, (int, float)) and 0 < t < float("inf")) for t in figures):
                raise ValueError(f"its milliseconds are {figures}")
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}, is no benchmark record: {error}") from error
    return found
