"""Of many cases of one mechanism some run in the quick tests, and all in `.ci/run`."""

from collections.abc import Iterable
from typing import Any

import pytest


def some(cases: Iterable[str], *quick: str) -> list[Any]:
    """Returns the parameters of a test with a case each: those named in `quick` are quick, the others slow."""
    names = list(cases)
    assert set(quick) <= set(names), set(quick) - set(names)
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in names]
