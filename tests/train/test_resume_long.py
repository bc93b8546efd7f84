"""Exact resume of the digits recipe over hundreds of steps, in processes that compile their own programs."""

import fcntl
import signal

import pytest

import runs
from runs import call, spawn
from undisturbed import assert_undisturbed

pytestmark = [
    pytest.mark.usefixtures("programs"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="the test needs a pipe of a set size"),
]


@pytest.fixture(scope="module")
def four_hundred(tmp_path_factory):
    """400 undisturbed steps of the demo, streamed. Every process compiles its own programs."""
    workdir = tmp_path_factory.mktemp("full") / "run"
    outcome = spawn("train", *_full("data.resident=false"), "--workdir", workdir, timeout=300, **_FRESH)
    assert outcome.code == 0, outcome.err
    return workdir, outcome


_FRESH = {"JAX_ENABLE_COMPILATION_CACHE": "false"}


def _full(*overrides: str) -> list[str]:
    config = runs.ROOT / "configs" / "digits.py"
    return [str(config), "steps=400", "log.every=5", "sample.every=50", "checkpoint.every=50", *overrides]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_400_steps_at_once_and_150_then_250(four_hundred, tmp_path):
    """The killed run streams its data, over the borders of epochs."""
    workdir = tmp_path / "run"
    arguments = _full("data.resident=false")
    stopped = runs.stop(workdir, *arguments, lines=34, least=150, timeout=300, **_FRESH)
    assert stopped.code == -signal.SIGKILL
    assert 150 <= stopped.step < 200
    outcome = spawn("train", *arguments, "--workdir", workdir, timeout=300, **_FRESH)
    assert "resuming at step 150" in outcome.err or "resuming at step 100" in outcome.err
    assert_undisturbed(workdir, outcome, *four_hundred)
    assert call("digest", workdir).out.strip() == outcome.digest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_200_steps_and_then_400(four_hundred, tmp_path):
    """Here the data stay on the device. `steps` is raised after the first run has ended."""
    for steps in (200, 400):
        arguments = ["train", *_full("data.resident=true"), f"steps={steps}", "--workdir", tmp_path / "run"]
        outcome = spawn(*arguments, timeout=300, **_FRESH)
        assert outcome.code == 0, outcome.err
    assert "resuming at step 200" in outcome.err
    assert_undisturbed(tmp_path / "run", outcome, *four_hundred)
