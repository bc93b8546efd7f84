"""Keeps the tests of one program in one process, so that it is compiled once."""

from typing import Any

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Sends all tests with the same parameters to one process.

    xdist's own "loadgroup" does nothing under pytest 9.2, where a test can't change its id.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByProgram(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.rpartition("[")[2] if "[" in nodeid else nodeid

    return ByProgram(config, log)
