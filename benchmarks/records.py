"""The record of one measured figure, stored as one line of JSON."""

import dataclasses
import datetime
import json
from collections.abc import Iterable
from pathlib import Path

from .machine import Machine
from .suites import Row


@dataclasses.dataclass(frozen=True)
class Record:
    """What was timed, on which computer, and how long it took. None means not measured or not applicable.

    Attributes:
        implementation: gan_jax, torch_eager, torch_tuned, torch_compile, jax_tutorial or keras.
        mode: the mode of gan_jax's step ("jit", "shard", "pmap", "fused"), or the part of a step.
        step_ms_median, step_ms_min, step_ms_max: milliseconds of one training step, or of one call of a part.
        samples: number of samples that the median is taken over.
        flops: FLOPs of one step, as the compiler counts them for gan_jax's program.
        peak_fraction: FLOP/s of the step, over the FLOP/s of a matrix product in the same precision, measured on
            one device in the same run.
        memory_bytes: device memory that the program needs. host_memory_bytes: peak memory of the process so far.
        virtual: whether the devices are virtual devices of one CPU.
        note: why the figure is missing, or what a reader must know about it.
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
    def key(self) -> tuple[str | int, ...]:
        """Two records with the same key measure the same thing."""
        return (self.suite, self.case, self.implementation, self.mode, self.precision, self.batch, self.devices)


def record(row: Row, machine: Machine) -> Record:
    """Returns the record of a row that was measured on `machine`."""
    ms = row.sample.median if row.sample else None
    images = 1e3 * row.batch / ms if ms else None
    runner = row.runner
    # `flops` are those of one device. Each real device has the whole peak; virtual devices share it.
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
    """Appends one line per record to the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(dataclasses.asdict(record)) + "\n" for record in records)


def read(path: Path) -> list[Record]:
    """Reads all records of a file.

    Raises:
        ValueError: the file can't be read, or a line is not a record.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(Record(**json.loads(line)))
            figures = (records[-1].step_ms_median, records[-1].step_ms_min, records[-1].step_ms_max)
            if not all(t is None or (isinstance(t, (int, float)) and 0 < t < float("inf")) for t in figures):
                raise ValueError(f"its milliseconds are {figures}")
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}, is not a benchmark record: {error}") from error
    return records
