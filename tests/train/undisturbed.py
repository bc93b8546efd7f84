"""Compares a run with an undisturbed one."""

from pathlib import Path

import runs
from runs import rows


def pictures(workdir: Path) -> dict[str, bytes]:
    return runs.files(workdir / "samples")


def assert_undisturbed(workdir: Path, outcome: runs.Outcome, reference: Path, expected: runs.Outcome) -> None:
    """Asserts the same digest, log rows and sample grids as those of the undisturbed run."""
    assert outcome.code == 0, outcome.err
    assert outcome.digest == expected.digest
    assert rows(workdir) == rows(reference)
    assert pictures(workdir) == pictures(reference)
