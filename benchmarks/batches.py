"""Times a case at several batch sizes beside PyTorch: `python -m benchmarks.batches CASE BATCH [BATCH ...]`.

It is the suite "peers" in one process, so the peaks and the comparison of one step with each peer are made once.
Each size's records are written as soon as they are there; a variant that does not fit into memory is a record
without a time, which says so.
"""

import argparse
import dataclasses
import gc
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from . import command, machine, records, suites
from .cases import CASES


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batches", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("case", choices=CASES)
    parser.add_argument("batches", nargs="+", type=int, metavar="BATCH")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one sample")
    parser.add_argument("--no-check", action="store_true", help="do not compare one step with each peer first")
    parser.add_argument("--json", type=Path, required=True, help="the records are appended to it")
    parsed = parser.parse_args(arguments)
    peaks = machine.measure()
    print(command.peaks_line(peaks), flush=True)
    for index, batch in enumerate(parsed.batches):
        case = dataclasses.replace(CASES[parsed.case], batch=batch)
        check = index == 0 and not parsed.no_check
        for row in suites.peers([case], parsed.rounds, (parsed.precision,), check=check, seconds=parsed.seconds):
            measured = records.record(row, peaks)
            print(command.line(measured), flush=True)
            records.write(parsed.json, [measured])
        free()
    return 0


def free() -> None:
    """Gives the memory of finished variants back, so that the next batch size has it."""
    gc.collect()
    if importlib.util.find_spec("torch"):
        import torch

        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
