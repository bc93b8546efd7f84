"""The programs in examples/: their files, and how a test loads one."""

import runpy
from typing import Any

from devices import ROOT

PROGRAMS = sorted((ROOT / "examples").glob("*.py"))


def load(name: str) -> dict[str, Any]:
    """Returns what the program `examples/<name>.py` defines, without running its main part."""
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))
