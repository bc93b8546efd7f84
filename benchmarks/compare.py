"""Compares two files of records: `python -m benchmarks.compare OLD NEW`. Exit code 1 means a slow-down.

A slow-down needs all of this: the new median is more than `--threshold` above the old median; the fastest new
sample is slower than the old median; and the fastest new sample is more than `--threshold` above the fastest old
one. The slowest samples do not count, because noise only ever makes a sample slower.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .records import Record, read


def verdict(old: Record, new: Record, threshold: float = 0.10) -> str:
    """Returns "slower", "faster", or "" if the difference is small, within the noise or not measured."""
    for fast, slow, word in ((old, new, "slower"), (new, old, "faster")):
        times = (fast.step_ms_median, fast.step_ms_min, slow.step_ms_median, slow.step_ms_min)
        if None in times:
            return ""
        median, least, slow_median, slow_least = (float(t) for t in times if t is not None)
        limit = 1 + threshold
        if slow_median > median * limit and slow_least > median and slow_least > least * limit:
            return word
    return ""


def pairs(old: Sequence[Record], new: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Pairs the measured records that have the same key; of records with one key, the last counts."""
    before = {record.key: record for record in old if record.step_ms_median is not None}
    after = {record.key: record for record in new if record.step_ms_median is not None}
    return [(before[key], after[key]) for key in before if key in after]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--threshold", type=float, default=0.10, help="smallest relative change to report (0.10)")
    parsed = parser.parse_args(arguments)
    try:
        matched = pairs(read(parsed.old), read(parsed.new))
    except ValueError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    if not matched:
        print("compare: the two files have no measured case in common", file=sys.stderr)
        return 2
    slower = 0
    for old, new in matched:
        word = verdict(old, new, parsed.threshold)
        slower += word == "slower"
        name = " ".join(str(part) for part in old.key if part != "")
        ratio = (new.step_ms_median or 0) / (old.step_ms_median or 1)
        print(f"{name:60} {old.step_ms_median:10.3f} ms {new.step_ms_median:10.3f} ms  x{ratio:.2f} {word}")
    if (matched[0][0].device, matched[0][0].versions) != (matched[0][1].device, matched[0][1].versions):
        print("note: the new file was measured on another device, or with other versions")
    print(f"{slower} of {len(matched)} slower by more than {parsed.threshold:.0%}")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
