"""The tables of docs/performance.md from the records in benchmarks/results: `python -m benchmarks.report`."""

import sys
from pathlib import Path

from . import records, table

_HERE = Path(__file__).resolve().parent
SUITES = ("updates", "dispatch", "modes", "feeding", "convolutions", "sweep", "startup", "scaling")


def main(results: Path = _HERE / "results", document: Path = _HERE.parent / "docs" / "performance.md") -> int:
    # The GPU's records come into folders of their own, and quality.jsonl is of scores; these tables are the CPU's.
    found = [one for path in sorted(results.glob("cpu_*.jsonl")) for one in records.read(path)]
    newest = list({one.key: one for one in sorted(found, key=lambda one: one.time)}.values())
    table.update(document, "peers", table.peers(newest))
    notes = document.with_name("performance_notes.md")
    table.update(notes, "operators", table.operators(newest))
    for suite in SUITES:
        table.update(notes, suite, table.plain(newest, suite))
    return 0


if __name__ == "__main__":
    sys.exit(main())
