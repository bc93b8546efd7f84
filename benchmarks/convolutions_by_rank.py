"""Times convolutions of one and three dimensions beside PyTorch's: `python -m benchmarks.convolutions_by_rank`.

    python -m benchmarks.convolutions_by_rank [--rounds 9] [--note TEXT] [--table]

Forward, input gradient and kernel gradient in float32, interleaved in one process. It appends to
results/convolutions_by_rank.jsonl, one line a convolution and direction, and writes the table of
docs/performance_notes.md from the last line of each. With `--table` it writes the table alone.
"""

import argparse
import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from gan_jax.ops import compiler_options, conv

from . import machine, table
from .timing import interleaved

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "convolutions_by_rank.jsonl"
NOTES = HERE.parent / "docs" / "performance_notes.md"
DIRECTIONS = ("forward", "input gradient", "kernel gradient")
Run = Callable[[int], object]


class Case(NamedTuple):
    """A convolution of maps of one length along every axis, with channels last."""

    batch: int
    size: tuple[int, ...]
    kernel: int
    stride: int
    inputs: int
    outputs: int

    @property
    def padding(self) -> int:
        return (self.kernel - self.stride + 1) // 2

    @property
    def name(self) -> str:
        size = "x".join(map(str, self.size))
        return f"k{self.kernel}s{self.stride} {size}, {self.inputs}-{self.outputs}, batch {self.batch}"


CASES = (
    Case(16, (4096,), 4, 2, 1, 64),
    Case(16, (1024,), 4, 2, 64, 128),
    Case(16, (1024,), 3, 1, 64, 64),
    Case(8, (32,) * 3, 4, 2, 1, 32),
    Case(8, (16,) * 3, 4, 2, 32, 64),
    Case(8, (8,) * 3, 3, 1, 64, 64),
)


def ours(case: Case, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> dict[str, Run]:
    def forward(x: jax.Array, w: jax.Array) -> jax.Array:
        return conv(x, w, stride=case.stride, padding=case.padding)

    functions = {
        "forward": (forward, (x, w)),
        "input gradient": (lambda y, w: jax.linear_transpose(lambda x: forward(x, w), x)(y)[0], (y, w)),
        "kernel gradient": (lambda x, y: jax.linear_transpose(lambda w: forward(x, w), w)(y)[0], (x, y)),
    }
    return {direction: _repeated(*found) for direction, found in functions.items()}


def _repeated(function: Callable[..., jax.Array], arguments: tuple[np.ndarray, ...]) -> Run:
    placed = jax.device_put(arguments)
    compiled = jax.jit(function, compiler_options=compiler_options()).lower(*placed).compile()

    def run(count: int) -> None:
        jax.block_until_ready([compiled(*placed) for _ in range(count)][-1])

    return run


def torchs(case: Case, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> dict[str, Run]:
    """Returns the same of PyTorch, with channels first, its own order."""
    import torch

    image, cotangent = (torch.from_numpy(np.moveaxis(a, -1, 1).copy()) for a in (x, y))
    kernel = torch.from_numpy(np.moveaxis(w, (-1, -2), (0, 1)).copy())
    rank = len(case.size)
    function = {1: torch.nn.functional.conv1d, 3: torch.nn.functional.conv3d}[rank]
    stride, padding = [case.stride] * rank, [case.padding] * rank

    def back(*mask: bool) -> object:
        return torch.ops.aten.convolution_backward(
            cotangent, image, kernel, None, stride, padding, [1] * rank, False, [0] * rank, 1, list(mask)
        )

    calls = {
        "forward": lambda: function(image, kernel, stride=stride, padding=padding),
        "input gradient": lambda: back(True, False, False),
        "kernel gradient": lambda: back(False, True, False),
    }

    def repeated(call: Callable[[], object]) -> Run:
        def run(count: int) -> None:
            with torch.no_grad():
                for _ in range(count):
                    call()

        return run

    return {direction: repeated(call) for direction, call in calls.items()}


def measure(case: Case, rounds: int) -> list[dict]:
    """Returns a record for each direction."""
    draw, rank = np.random.default_rng(0), len(case.size)
    x = draw.normal(size=(case.batch, *case.size, case.inputs)).astype(np.float32)
    w = draw.normal(size=(*(case.kernel,) * rank, case.inputs, case.outputs)).astype(np.float32)
    out = [(n + 2 * case.padding - case.kernel) // case.stride + 1 for n in case.size]
    y = draw.normal(size=(case.batch, *out, case.outputs)).astype(np.float32)
    both = ours(case, x, w, y), torchs(case, x, w, y)
    flops = 2 * y.size * case.kernel**rank * case.inputs
    records = []
    for direction in DIRECTIONS:
        runs = {"gan_jax": both[0][direction], "torch": both[1][direction]}
        samples = interleaved(runs, rounds=rounds, seconds=0.03, pause=0.05)
        record = {"case": case.name, "direction": direction, "gflop": flops / 1e9}
        for name, sample in samples.items():
            record[f"{name}_ms"] = {"median": sample.median, "min": sample.least, "max": sample.most}
        record["samples"], record["torch_over_gan_jax"] = (
            samples["torch"].count, samples["torch"].median / samples["gan_jax"].median
        )  # fmt: skip
        records.append(record)
    return records


def written(records: list[dict]) -> str:
    """Returns the table: medians with the smallest in brackets, and how many times as fast gan_jax is."""
    newest = {(r["case"], r["direction"]): r for r in records}
    lines = [f"| convolution | {' | '.join(DIRECTIONS)} |", f"|{'---|' * (len(DIRECTIONS) + 1)}"]
    for name in dict.fromkeys(case for case, _ in newest):
        cells = [_cell(newest[name, direction]) for direction in DIRECTIONS if (name, direction) in newest]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(record: dict) -> str:
    ours, theirs = record["gan_jax_ms"], record["torch_ms"]
    times = f"{ours['median']:.3g} [{ours['min']:.3g}] / {theirs['median']:.3g} [{theirs['min']:.3g}]"
    least = theirs["min"] / ours["min"]
    return f"{times}: {record['torch_over_gan_jax']:.2f} [{least:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--note", default="", help="what a reader of the figures must know")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table")
    arguments = parser.parse_args()
    if not arguments.table:
        import torch

        torch.set_num_threads(machine.cpu_threads())
        here = machine.described()
        for case in CASES:
            for record in measure(case, arguments.rounds):
                time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                whole = {**record, "note": arguments.note, "time": time, **here}
                print(record["case"], record["direction"], _cell(record), flush=True)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(whole) + "\n")
    records = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    table.update(NOTES, "convolutions_by_rank", written(records))


if __name__ == "__main__":
    main()
