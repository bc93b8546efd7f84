"""Where a step's milliseconds go: `python -m benchmarks.profile CASE [--precision bfloat16] [--batch 64]`.

A few steps under JAX's profiler; the operations in its trace, summed by kind. What lies between operations is the
row "gaps" (launches, and the host).
"""

import argparse
import dataclasses
import gzip
import json
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

from .cases import CASES
from .runners import ours

# First match counts. Kernels by the names that XLA and the libraries give them; not yet held against a card's.
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
    """What an operation of the trace does, by its name."""
    return next((title for title, pattern in _KINDS if re.search(pattern, name, re.IGNORECASE)), "other")


def busy(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of `(start, end)` spans."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def summed(events: Sequence[dict[str, Any]], steps: int) -> dict[str, float]:
    """Milliseconds a step by kind, of complete events (microseconds, `ts` and `dur`); nested ones count once.

    Operations on several threads or streams are summed, so that kinds may add up to more than the step; "gaps" is
    the time in which none ran.
    """
    by_kind: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        by_kind[kind(event["name"])].append((event["ts"], event["ts"] + event["dur"]))
    spans = [span for one in by_kind.values() for span in one]
    if not spans:
        return {}
    whole = max(end for _, end in spans) - min(start for start, _ in spans)
    found = {name: busy(one) / 1e3 / steps for name, one in by_kind.items() if name != "loop and calls"}
    found["gaps"] = (whole - busy(spans)) / 1e3 / steps
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def operations(folder: Path) -> list[dict[str, Any]]:
    """The events of operations in a profile's trace, on the accelerator's streams.

    Raises:
        ValueError: there is no accelerator in it.
    """
    (path,) = folder.rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    processes = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    complete = [e for e in events if e.get("ph") == "X" and e.get("dur")]
    device = [e for e in complete if "/device:" in processes.get(e["pid"], "")]
    if device:
        return [e for e in device if "Stream" in threads.get((e["pid"], e["tid"]), "Stream")]
    raise ValueError("the trace has no accelerator in it: a CPU's does not name what its threads do")


def profile(case: str, *, precision: str = "float32", batch: int = 0, steps: int = 5) -> dict[str, float]:
    """Milliseconds a step by kind."""
    sized = dataclasses.replace(CASES[case], batch=batch or CASES[case].batch)
    runner = ours(sized, precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            runner.run(steps)
        return summed(operations(Path(folder)), steps)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile")
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args(arguments)
    try:
        found = profile(parsed.case, precision=parsed.precision, batch=parsed.batch)
    except ValueError as error:
        print(f"profile: {error}", file=sys.stderr)
        return 2
    for name, ms in found.items():
        print(f"{name:32} {ms:10.3f} ms")
    if parsed.json:
        parsed.json.write_text(
            json.dumps({"case": parsed.case, "precision": parsed.precision, "ms": found}) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
