"""One of several processes dies, hangs or makes a mistake: the others end too, and the same commands continue."""

import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

import runs
from gan_jax.errors import LostError
from gan_jax.runtime.hosts import Hosts
from host_processes import LONG, SMALL, Process, ended, free_port, says, start, wait_until

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(300)]
END_SECONDS = 30  # within which a process ends when another one is gone


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> str:
    return str(runs.write_config(tmp_path_factory.mktemp("config"), SMALL))


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory) -> Callable[[int], str]:
    """Returns a function from a number of steps to the digest of an undisturbed run of so many."""

    @functools.cache
    def digest(steps: int) -> str:
        workdir = tmp_path_factory.mktemp("undisturbed") / "run"
        outcomes = ended(start(workdir, config, f"steps={steps}", "checkpoint.every=50"))
        assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
        return outcomes[0].digest

    return digest


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_gone(victim, how, config, undisturbed, tmp_path):
    """The other one ends within 30 seconds. The same command continues, and ends with the bits of a whole run.

    A stopped process keeps its connections open and answers nothing, as a host that lost its network.
    """
    workdir = tmp_path / "run"
    processes = start(workdir, config, *LONG)
    wait_until(lambda: runs.checkpoints(workdir), processes[0])
    os.killpg(processes[victim].process.pid, how)
    began = time.monotonic()
    other = processes[1 - victim].end(timeout=60)
    seconds = time.monotonic() - began
    os.killpg(processes[victim].process.pid, signal.SIGKILL)
    processes[victim].end()
    print(f"process {victim}, {how.name}: the other ended after {seconds:.1f} s with {other.code}")
    print(other.err[-400:])
    assert seconds < END_SECONDS
    # An error of Gloo becomes our sentence and code 4; JAX's own checks abort the process.
    assert other.code in (4, -signal.SIGABRT), other.err
    assert other.code != 4 or says(other, "another process of this run is gone")
    steps = runs.checkpoints(workdir)[-1] + 10
    outcomes = ended(start(workdir, config, f"steps={steps}"))
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert outcomes[0].digest == undisturbed(steps)


@pytest.mark.slow
def test_a_mistake_that_only_process_0_sees(config, tmp_path):
    """It alone touches the workdir; both processes name the mistake."""
    (tmp_path / "file").write_text("")
    for outcome in ended(start(tmp_path / "file" / "run", config), timeout=60):
        assert outcome.code == 2, outcome.err
        assert says(outcome, "can't write to the workdir")


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (ValueError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer"), True),
        (jax.errors.JaxRuntimeError("UNAVAILABLE: heartbeat timeout"), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory on a peer"), False),
        (ValueError("a connection that JAX knows nothing of"), False),
    ],
)
def test_which_errors_mean_that_another_process_is_gone(error, lost):
    hosts = Hosts()
    with pytest.raises(type(error)), hosts.alive():  # a run of one process has no other
        raise error
    hosts.count = 2
    with pytest.raises(LostError if lost else type(error)), hosts.alive():
        raise error
    assert LostError.exit_code == 4


BROKEN = """
import os
import numpy as np
from gan_jax.data.digits import digits as real_digits
from gan_jax.errors import UserError

class Broken:
    def __init__(self):
        self.source = real_digits()
        self.shape, self.dtype, self.classes = self.source.shape, self.source.dtype, self.source.classes

    def __len__(self):
        return len(self.source)

    def fingerprint(self):
        return self.source.fingerprint()

    def read(self, indices):
        if os.environ.get("BROKEN") and 700 in indices:
            raise ValueError("an error that gan_jax does not know")
        return self.source.read(indices)

def digits():
    if os.environ.get("MISSING"):
        raise UserError("the disk with the digits is not mounted here")
    return Broken()
"""


def start_broken(config: str, folder: Path, environments: list[dict[str, str]]) -> list[Process]:
    """Starts two processes of one run; the environment variables of each say what fails in it."""
    (folder / "broken.py").write_text(BROKEN)
    port, path = free_port(), f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    arguments = [config, *LONG, "data.source=broken:digits", "data.resident=false"]
    given = ["--distributed", "--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process"]
    return [
        Process(folder / "run", port, 0, 1, 2, *arguments, *given, str(index), PYTHONPATH=path, **variables)
        for index, variables in enumerate(environments)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("where", [0, 1])
def test_a_data_set_that_one_process_lacks(where, config, tmp_path):
    """That process names the mistake; the other one ends too."""
    environments = [{"MISSING": "1"} if index == where else {} for index in range(2)]
    outcomes = ended(start_broken(config, tmp_path, environments), timeout=60)
    assert outcomes[where].code == 2, outcomes
    assert says(outcomes[where], "the disk with the digits is not mounted here")
    assert outcomes[1 - where].code in (4, -signal.SIGABRT), outcomes


@pytest.mark.slow
def test_an_unknown_error_in_one_process(config, tmp_path):
    """It shows its traceback there, and the other process ends too."""
    first, second = ended(start_broken(config, tmp_path, [{}, {"BROKEN": "1"}]), timeout=90)
    assert second.code == 1
    assert "ValueError: an error that gan_jax does not know" in second.err
    assert first.code in (4, -signal.SIGABRT), first.err
