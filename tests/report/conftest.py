"""Fixtures of the tests of loggers."""

import os

import pytest


@pytest.fixture
def plain_environment(monkeypatch):
    """Takes away the variables that lead loggers to a store of the machine's user."""
    for name in os.environ:
        if name.startswith(("WANDB", "MLFLOW", "TRACKIO")):
            monkeypatch.delenv(name)
