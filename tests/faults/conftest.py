"""Fixtures for a run that a fault ends and that the same command continues. A module defines its `config`."""

import shutil

import pytest

import runs
from gan_jax.train import prepare
from gan_jax.train.programs import Programs
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


class _CompiledOnce(Programs):
    """Programs for many runs with the same config and data: only the first run compiles them."""

    compiled: frozenset[str] = frozenset()

    def compile(self, *, starts, chunk, shared, timings):
        wanted = {name for name, needed in (("start", starts), ("step", chunk is not None)) if needed}
        new = wanted - self.compiled
        self.compiled |= new
        chunk = chunk if "step" in new else None
        super().compile(starts="start" in new, chunk=chunk, shared=shared, timings=timings)


@pytest.fixture(scope="module")
def programs_shared(programs):
    """Runs in this process trace and compile their programs once for each config. Their files are their own."""
    made: dict[str, _CompiledOnce] = {}

    def shared(config, gan, spec, placement, resident, source=None):
        kind = repr((config, spec, resident))
        if kind not in made:
            made[kind] = _CompiledOnce(config, gan, spec, placement, resident, source)
        return made[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "Programs", shared)
        yield
