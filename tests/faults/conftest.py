"""Fixtures for a run that a fault ends and that the same command continues. A module defines its `config`."""

import shutil

import pytest

import runs
from runs import call


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    outcome = call("train", config, "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    return workdir, outcome


@pytest.fixture
def workdir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def ends_undisturbed(config, undisturbed, workdir):
    """Runs the same command again and checks that it ends like the undisturbed run; returns its messages."""

    def check(config=config, workdir=workdir):
        reference, expected = undisturbed
        outcome = call("train", config, "--workdir", workdir)
        assert outcome.code == 0, outcome.err
        assert outcome.digest == expected.digest
        assert runs.rows(workdir) == runs.rows(reference)
        assert runs.files(workdir / "samples") == runs.files(reference / "samples")
        return outcome.err

    return check
