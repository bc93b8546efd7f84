"""Two files of records against each other: `python -m benchmarks.compare OLD NEW`; exit code 1 on a slow-down.

A slow-down is a median more than `--threshold` above the old one, and beyond the noise: the fastest new sample is
slower than the old median, and by as much slower than the fastest old one. (Noise only ever adds: a hiccup in the
old run moves its slowest sample, so that one is not looked at.)
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .records import Record, read


def verdict(old: Record, new: Record, threshold: float = 0.10) -> str:
    """ "slower", "faster", or "" where the difference is small or within the noise."""
    for a, b, word in ((old, new, "slower"), (new, old, "faster")):
        times = (a.step_ms_median, a.step_ms_min, b.step_ms_median, b.step_ms_min)
        if None in times:
            return ""
        before, fastest, after, least = (float(t) for t in times if t is not None)
        if after > before * (1 + threshold) and least > before and least > fastest * (1 + threshold):
            return word
    return ""


def pairs(old: Sequence[Record], new: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Measured records of the same thing; of several the last."""
    before = {one.key: one for one in old if one.step_ms_median is not None}
    after = {one.key: one for one in new if one.step_ms_median is not None}
    return [(before[key], after[key]) for key in before if key in after]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--threshold", type=float, default=0.10, help="share above which slower is slower (0.10)")
    parsed = parser.parse_args(arguments)
    try:
        found = pairs(read(parsed.old), read(parsed.new))
    except ValueError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    if not found:
        print("compare: the two files have no measured case in common", file=sys.stderr)
        return 2
    worse = 0
    for old, new in found:
        word = verdict(old, new, parsed.threshold)
        worse += word == "slower"
        name = " ".join(str(part) for part in old.key if part != "")
        ratio = (new.step_ms_median or 0) / (old.step_ms_median or 1)
        print(f"{name:60} {old.step_ms_median:10.3f} ms {new.step_ms_median:10.3f} ms  x{ratio:.2f} {word}")
    if (found[0][0].device, found[0][0].versions) != (found[0][1].device, found[0][1].versions):
        print("note: measured on another device, or with other versions")
    print(f"{worse} of {len(found)} slower by more than {parsed.threshold:.0%}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
