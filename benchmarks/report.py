"""Writes the tables of docs/performance.md from the records in results/: `python -m benchmarks.report`."""

import sys
from pathlib import Path

from . import records, table

_HERE = Path(__file__).resolve().parent
SUITES = ("updates", "dispatch", "modes", "feeding", "convolutions", "sweep", "startup", "scaling")


def main(results: Path = _HERE / "results", document: Path = _HERE.parent / "docs" / "performance.md") -> int:
    # Only CPU records: run_gpu.sh writes to folders of their own, and quality.jsonl holds scores.
    measured = [record for path in sorted(results.glob("cpu_*.jsonl")) for record in records.read(path)]
    newest = list({record.key: record for record in sorted(measured, key=lambda record: record.time)}.values())
    table.update(document, "peers", table.peers(newest))
    notes = document.with_name("performance_notes.md")
    table.update(notes, "operators", table.operators(newest))
    for suite in SUITES:
        table.update(notes, suite, table.figures(newest, suite))
    return 0


if __name__ == "__main__":
    sys.exit(main())
