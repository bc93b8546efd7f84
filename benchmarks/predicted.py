"""Puts lower bounds of the time of a step beside the measured time: `python -m benchmarks.predicted`.

The bounds are those of `gan_jax.targets`: what the arithmetic takes at the chip's published rate, what the reads
and writes take at its bandwidth, and the sum over the kernels of the larger of both. No bound is a prediction: a
step takes at least that long. The ratio is measured over the last bound, if both are of the same chip.

It reads stored files and compiles nothing: records (`--records`), and programs (`--programs`), which
`python -m benchmarks.recipes` writes of the device at hand (JSON lines, see `entry`), and
`gan-jax train RECIPE --dry-run --target h200 --json FILE` of one that is not here.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax.targets.bounds import bounds
from gan_jax.targets.chips import Chip
from gan_jax.targets.gpus import CHIPS
from gan_jax.targets.hlo import HLOError, parse
from gan_jax.targets.kernels import kernels

from .records import Record, read


class Prediction(NamedTuple):
    """A step's bounds on the chip `target` and its measured time on `device`, in milliseconds."""

    case: str
    batch: int
    precision: str
    target: str
    arithmetic: float
    traffic: float
    kernels: float
    measured: float | None = None
    device: str = ""

    @property
    def ratio(self) -> float | None:
        """Measured over the sum over kernels of the larger bound; None: not measured on that chip."""
        here = chip_of(self.device) == self.target
        return self.measured / self.kernels if here and self.measured and self.kernels else None


def chip_of(device: str) -> str | None:
    """Returns the name in `gan_jax.targets` of a device as JAX calls it, such as "NVIDIA H200"."""
    words = re.split(r"[\s-]+", device.lower())
    return next((name for name in CHIPS if name in words or words[-2:] == re.findall(r"[a-z]+|\d+", name)), None)


def entry(case: str, batch: int, precision: str, text: str, name: str) -> dict[str, Any]:
    """Returns what is stored of a compiled program.

    Args:
        case, batch, precision: those of the record of the same step.
        text: the program, as the compiler prints it.
        name: the chip's name in `gan_jax.targets`.

    Returns:
        the arguments but the text, "kernels" and "bytes" of a step, and "bounds_seconds" in seconds: "arithmetic",
        "traffic", "kernels". Where the text can't be counted, "note" says why instead.
    """
    chip: Chip = CHIPS[name]
    row: dict[str, Any] = {"case": case, "batch": batch, "precision": precision, "target": name}
    try:
        found = kernels(parse(text))
    except HLOError as error:
        return {**row, "note": str(error)}
    row["kernels"] = sum(kernel.count for kernel in found)
    row["bytes"] = sum(kernel.count * kernel.bytes for kernel in found)
    return {**row, "bounds_seconds": bounds(found, chip)._asdict()}


def read_programs(path: Path) -> list[dict[str, Any]]:
    """Reads a file of `entry` lines, or what a dry run for targets wrote.

    Raises:
        ValueError: the file can't be read, or a line is not that of a program.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error
    try:
        return list(_of_dry_run(json.loads(text)))
    except (ValueError, KeyError, TypeError):
        pass  # a file of lines
    programs = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            program = json.loads(line)
            if not {"case", "batch", "precision", "target"} <= set(program) or not {
                "bounds_seconds",
                "note",
            } & set(program):
                raise ValueError("it needs case, batch, precision, target and bounds_seconds")
            programs.append(program)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}, is not a program: {error}") from error
    return programs


def _of_dry_run(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the programs for one device; a dry run does not say the precision, so it fits any."""
    for target in found["targets"]:
        if "bounds_seconds" in target and target["devices"] == 1:
            flops = target["flops"]
            batch = round(flops["model_step"] / flops["model_image"])
            bounds = target["bounds_seconds"]
            yield {
                "case": found["config"],
                "batch": batch,
                "precision": "",
                "target": target["target"],
                "bounds_seconds": bounds,
            }


def predictions(records: Iterable[Record], programs: Iterable[dict[str, Any]]) -> list[Prediction]:
    """Pairs each program with the last record of the same step; programs without bounds are left out."""
    measured = {
        (one.case, one.batch, precision): (one.step_ms_median, one.device)
        for one in records
        for precision in (one.precision, "")
        if one.suite == "recipes" and one.implementation == "gan_jax"
    }
    found = []
    for program in programs:
        if "bounds_seconds" in program:
            key = program["case"], program["batch"], program["precision"]
            figures = [1e3 * program["bounds_seconds"][name] for name in ("arithmetic", "traffic", "kernels")]
            found.append(Prediction(*key, program["target"], *figures, *measured.get(key, ())))
    return found


def table(found: Sequence[Prediction]) -> str:
    """Returns a Markdown table with a row for each step."""
    lines = ["| step | target | arithmetic | traffic | sum over kernels | measured | measured / sum |"]
    lines.append("|---" * 7 + "|")
    for one in found:
        cells = [f"{value:.3f} ms" for value in (one.arithmetic, one.traffic, one.kernels)]
        cells.append("not measured" if one.measured is None else f"{one.measured:.3f} ms on {one.device}")
        cells.append("" if one.ratio is None else f"{one.ratio:.2f}")
        step = ", ".join(filter(None, (one.case, str(one.batch), one.precision)))
        lines.append(f"| {step} | {one.target} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.predicted", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--programs", type=Path, required=True)
    parsed = parser.parse_args(arguments)
    try:
        found = predictions(read(parsed.records), read_programs(parsed.programs))
    except ValueError as error:
        print(f"predicted: {error}", file=sys.stderr)
        return 2
    print("Arithmetic, traffic and their sum over kernels are lower bounds, not predictions.\n")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
