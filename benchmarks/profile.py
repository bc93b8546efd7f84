"""Shows which operations take the time of a step: `python -m benchmarks.profile CASE`.

JAX's profiler traces a few steps. The operations in the trace are summed by kind; the row "gaps" is the time
between operations (launches and waiting for the host). Then the longest kernels follow, each beside what the
compiled program says of it: its kind, what it reads and writes, and what it was traced from.
"""

import argparse
import dataclasses
import gzip
import json
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax

from gan_jax.targets.hlo import parse
from gan_jax.targets.kernels import kernels

from .cases import CASES
from .runners import ours

Event: TypeAlias = dict[str, Any]  # one event of a trace in Chrome's JSON format

# Patterns of the kernel names that XLA and its libraries use. The first match counts. Not yet checked on a GPU.
_KINDS = (
    ("copy, transpose", r"nchwtonhwc|nhwctonchw"),
    ("convolution, weight gradient", r"wgrad|bgrad|convolution.*filter|conv.*backward_filter"),
    ("convolution, input gradient", r"dgrad|convolution.*input|conv.*backward_(data|input)"),
    ("convolution", r"conv(?!ert)|fprop|implicit|winograd|cudnn|xmma.*nhwc"),
    ("matrix product", r"gemm|dot|matmul|cutlass|cublas|nvjet"),
    ("copy, transpose", r"copy|transpose|memcpy|memset|concatenate"),
    ("reduction", r"reduce"),
    ("loop and calls", r"^(while|call|conditional|condition|body|thunk)"),
    (
        "elementwise",
        r"fusion|loop|add|multiply|select|broadcast|wrapped|pad|slice|rng|bitcast|tanh|compare|convert",
    ),
)


def kind(name: str) -> str:
    """Returns the kind of an operation, judged by its name in the trace."""
    return next((title for title, pattern in _KINDS if re.search(pattern, name, re.IGNORECASE)), "other")


def busy(spans: Iterable[tuple[float, float]]) -> float:
    """Returns the total length of the union of `(start, end)` spans."""
    total, last_end = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, last_end))
        last_end = max(last_end, end)
    return total


def sum_by_kind(events: Sequence[Event], steps: int) -> dict[str, float]:
    """Returns milliseconds per step for each kind, the longest first.

    `events` are complete events, whose `ts` and `dur` are in microseconds. Nested events of one kind count once.
    Kinds may add up to more than the step, because operations run in parallel on several streams. "gaps" is the
    time in which no operation ran.
    """
    by_kind: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        by_kind[kind(event["name"])].append((event["ts"], event["ts"] + event["dur"]))
    spans = [span for one in by_kind.values() for span in one]
    if not spans:
        return {}
    whole = max(end for _, end in spans) - min(start for start, _ in spans)
    total = {name: busy(one) / 1e3 / steps for name, one in by_kind.items() if name != "loop and calls"}
    total["gaps"] = (whole - busy(spans)) / 1e3 / steps
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def operations(folder: Path) -> list[Event]:
    """Reads the trace in `folder` and returns the operations on the accelerator's streams, or on a CPU's threads.

    Raises:
        ValueError: the trace has no operations.
    """
    (path,) = folder.rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    processes = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    complete = [e for e in events if e.get("ph") == "X" and e.get("dur")]
    device = [e for e in complete if "/device:" in processes.get(e["pid"], "")]
    if device:
        return [e for e in device if "Stream" in threads.get((e["pid"], e["tid"]), "Stream")]
    if host := [e for e in complete if "hlo_op" in e.get("args", {})]:
        return host
    raise ValueError("the trace has no operations: this version of JAX's profiler does not name them here")


class Kernel(NamedTuple):
    """A kernel in the trace: its instruction, milliseconds and calls a step, and what the program says of it."""

    name: str
    ms: float
    calls: float
    program: str


def longest(events: Sequence[Event], steps: int, program: Mapping[str, str], count: int = 20) -> list[Kernel]:
    """Returns the kernels that take the most time. `program` maps an instruction's name to its description."""
    total: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for event in events:
        name = event.get("args", {}).get("hlo_op") or event["name"]
        total[name][0] += event["dur"] / 1e3 / steps
        total[name][1] += 1 / steps
    ordered = sorted(total.items(), key=lambda item: -item[1][0])
    return [Kernel(name, ms, calls, program.get(name, "")) for name, (ms, calls) in ordered[:count]]


def described(text: str) -> dict[str, str]:
    """Returns a line for each kernel of a compiled program, by the name of its instruction."""
    lines = {}
    for kernel in kernels(parse(text)):
        work = f"{kernel.flops / 1e9:.2f} GFLOP, " if kernel.flops else ""
        traffic = f"{kernel.read / 1e6:.1f} MB read, {kernel.written / 1e6:.1f} MB written"
        lines[kernel.name] = f"{kernel.kind} {kernel.call}: {work}{traffic}; {kernel.op_name}".replace(" :", ":")
    return lines


def profile(
    case: str, *, precision: str = "float32", batch: int = 0, steps: int = 5
) -> tuple[dict[str, float], list[Kernel]]:
    """Profiles `steps` steps of a case; returns milliseconds per step by kind, and the longest kernels."""
    sized = dataclasses.replace(CASES[case], batch=batch or CASES[case].batch)
    runner = ours(sized, precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            runner.run(steps)
        events = operations(Path(folder))
    return sum_by_kind(events, steps), longest(events, steps, described(runner.text()))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args(arguments)
    try:
        times, top = profile(parsed.case, precision=parsed.precision, batch=parsed.batch)
    except ValueError as error:
        print(f"profile: {error}", file=sys.stderr)
        return 2
    for name, ms in times.items():
        print(f"{name:32} {ms:10.3f} ms")
    for kernel in top:
        print(f"{kernel.ms:10.3f} ms in {kernel.calls:4.0f} calls  {kernel.name:40} {kernel.program}")
    if parsed.json:
        found = {"case": parsed.case, "precision": parsed.precision, "ms": times}
        found["kernels"] = [kernel._asdict() for kernel in top]
        parsed.json.write_text(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
