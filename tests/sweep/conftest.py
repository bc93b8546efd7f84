"""The config that is swept, for this process and for those that it starts."""

import os

import pytest

import runs
import small_sweeps


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Returns the config file; processes find the parts that it names."""
    folders = (runs.ROOT / "tests", runs.ROOT / "tests" / "sweep")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, folders)))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    return small_sweeps.write(tmp_path)
