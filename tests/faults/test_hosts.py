"""Several processes on one machine, as if each were a host: they are one run, which outlives each of them.

JAX writes lines of its own to standard error, so tests look for a sentence among the lines.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

import runs
from gan_jax.pytree import host_array, named_leaves
from gan_jax.runtime.hosts import Hosts, LostError
from gan_jax.train.open_run import open_run
from runs import ROOT, Outcome

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(300)]
END_SECONDS = 30  # within which a process ends when another one is gone

SGD = runs.TINY.replace(
    "        log=Log",
    '        generator_optimizer=Call("sgd", learning_rate=0.01),\n'
    '        discriminator_optimizer=Call("sgd", learning_rate=0.01),\n'
    "        log=Log",
)


class Process:
    """`gan-jax train` as one of `count` processes of a run, with `devices` virtual devices."""

    def __init__(
        self, workdir: Path, port: int, index: int, count: int, devices: int, *arguments: str, **environment: str
    ):
        words = [sys.executable, "-m", "gan_jax", "train", *map(str, arguments), "--workdir", str(workdir)]
        scheduled = "SLURM_JOB_ID" in environment  # then JAX finds the other processes
        words += ["--distributed"] if count > 1 or scheduled else []
        if count > 1 and not scheduled:
            words += ["--coordinator", f"127.0.0.1:{port}", "--processes", str(count), "--process", str(index)]
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, **environment},
        )  # fmt: skip

    def end(self, timeout: float = 120.0) -> Outcome:
        """Waits for the end of the process; kills it and fails after `timeout` seconds."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            out, err = self.process.communicate()
            raise AssertionError(f"killed after {timeout} s\n{out[-2000:]}\n{err[-4000:]}") from None
        # Gloo prints how many processes it is connected to; its threads cut each other's lines.
        lines = [line for line in out.splitlines() if "peer ranks" not in line]
        return Outcome(self.process.returncode, "\n".join(lines), err)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(workdir: Path, *arguments: str, count: int = 2, devices: int = 2) -> list[Process]:
    port = free_port()
    return [Process(workdir, port, index, count, devices, *arguments) for index in range(count)]


def ended(processes: list[Process], timeout: float = 120.0) -> list[Outcome]:
    return [process.end(timeout) for process in processes]


def says(outcome: Outcome, words: str) -> bool:
    """Whether a line of standard error is a sentence of gan-jax with these words."""
    return any(line.startswith("gan-jax: ") and words in line for line in outcome.err.splitlines())


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> str:
    return str(runs.write_config(tmp_path_factory.mktemp("config"), SGD))


@pytest.fixture(scope="module")
def together(config, tmp_path_factory) -> tuple[Path, list[Outcome]]:
    """The workdir and the outcomes of an undisturbed run by two processes with two devices each."""
    workdir = tmp_path_factory.mktemp("together") / "run"
    outcomes = ended(start(workdir, config))
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    return workdir, outcomes


def leaves(workdir: Path) -> dict[str, np.ndarray]:
    return {name: host_array(leaf) for name, leaf in named_leaves(open_run(workdir, None).state).items()}


def difference(one: Path, other: Path) -> float:
    """Returns the largest difference between the last states of two runs, relative to 1 + |value|."""
    pairs = zip(leaves(one).values(), leaves(other).values(), strict=True)
    return max(float(np.max(np.abs(a - b) / (1.0 + np.abs(b)), initial=0.0)) for a, b in pairs)


@pytest.mark.slow
def test_two_processes_are_one_run(config, together, tmp_path):
    """They reach the state of one process with four devices. Process 1 reports nothing."""
    workdir, (_, second) = together
    (single,) = ended(start(tmp_path / "single", config, count=1, devices=4))
    assert single.code == 0, single.err
    assert difference(workdir, tmp_path / "single") < 1e-6
    assert second.out == ""
    assert not any(word in second.err for word in ("gan-jax: ", "training", "step ", "Traceback")), second.err
    assert runs.rows(workdir)[-1]["step"] == 60
    assert runs.checkpoints(workdir) == [10, 20, 30, 40, 50, 60]


@pytest.mark.slow
def test_under_slurm_distributed_is_enough_and_the_bits_repeat(config, together, tmp_path):
    port = free_port() % 4096  # JAX computes the port from the job's number
    variables = {"SLURM_JOB_ID": str(port), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    ids = [{"SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)} for index in range(2)]
    again = [Process(tmp_path / "again", 0, i, 2, 2, config, **variables, **ids[i]) for i in range(2)]
    outcomes = ended(again)
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert outcomes[0].digest == together[1][0].digest


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["parallel.mode=pmap", "parallel.params=sharded", "data.resident=false"])
def test_every_mode_of_two_processes(mode, config, together, tmp_path):
    arguments = [config, mode, *(["generator.width=32", "discriminator.width=32"] if "sharded" in mode else [])]
    outcomes = ended(start(tmp_path / "run", *arguments))
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    reference = together[0]
    if "sharded" in mode:
        reference = tmp_path / "replicated"
        assert [one.code for one in ended(start(reference, *arguments, "parallel.params=replicated"))] == [0, 0]
    assert difference(tmp_path / "run", reference) < 1e-6
    if "resident" in mode:  # the same batches give the same bits
        assert outcomes[0].digest == together[1][0].digest


def wait_until(condition: Callable[[], object], process: Process, timeout: float = 90.0) -> None:
    """Waits until `condition()`; fails when the process ends before."""
    until = time.monotonic() + timeout
    while not condition():
        assert process.process.poll() is None, process.end()
        assert time.monotonic() < until
        time.sleep(0.05)


LONG = ["steps=100000", "log.every=1", "sample.every=1000000", "checkpoint.every=50", "checkpoint.keep=2"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_gone(victim, how, config, tmp_path):
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
    undisturbed = ended(start(tmp_path / "undisturbed", config, f"steps={steps}", "checkpoint.every=50"))
    assert outcomes[0].digest == undisturbed[0].digest


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_one_process_gets_a_signal_and_all_stop_at_the_same_step(index, config, tmp_path):
    workdir = tmp_path / "run"
    processes = start(workdir, config, *LONG, "--preempt-exit-code=42")
    wait_until(lambda: runs.last_step(workdir) >= 20, processes[0])
    processes[index].process.send_signal([signal.SIGTERM, signal.SIGINT][index])
    outcomes = ended(processes, timeout=30)
    assert [outcome.code for outcome in outcomes] == [42, 42], outcomes
    steps = runs.checkpoints(workdir)[-1]
    assert f"at step {steps} of 100000: all is saved, the same command goes on" in outcomes[0].err


@pytest.mark.slow
def test_a_mistake_that_only_process_0_sees(config, tmp_path):
    """It alone touches the workdir; both processes name the mistake."""
    (tmp_path / "file").write_text("")
    for outcome in ended(start(tmp_path / "file" / "run", config), timeout=60):
        assert outcome.code == 2, outcome.err
        assert says(outcome, "can't write to the workdir")


@pytest.mark.slow
def test_processes_with_different_configs_do_not_begin(config, tmp_path):
    port = free_port()
    processes = [
        Process(tmp_path / "run", port, index, 2, 2, config, f"batch={size}") for index, size in ((0, 16), (1, 32))
    ]
    for outcome in ended(processes):
        assert outcome.code == 2, outcome.err
        assert says(outcome, "process 1 has another config than process 0")
    assert not (tmp_path / "run" / "config.json").exists()


def test_numbers_of_processes_that_are_not_valid(config, tmp_path):
    given = ["--workdir", tmp_path / "run", "--coordinator", "127.0.0.1:1234"]
    runs.sentence(runs.call("train", config, *given), "--coordinator", "--distributed")
    outcome = runs.spawn("train", config, *given, "--distributed", "--processes", 2, "--process", 2)
    assert outcome.code == 2, outcome.err
    assert says(outcome, "--process I, from 0 to N - 1")


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


@pytest.mark.slow
def test_a_distributed_run_of_one_process_stops_like_any_other(config, tmp_path):
    """Although JAX's preemption service receives SIGTERM in place of our handler."""
    workdir, port = tmp_path / "run", free_port()
    given = ["--distributed", "--coordinator", f"127.0.0.1:{port}", "--processes", "1", "--process", "0"]
    process = Process(workdir, port, 0, 1, 1, config, *LONG, *given)
    wait_until(lambda: runs.last_step(workdir) >= 20, process)
    process.process.send_signal(signal.SIGTERM)
    outcome = process.end(timeout=30)
    assert outcome.code == 75, outcome.err
    assert f"SIGTERM came at step {runs.checkpoints(workdir)[-1]} of 100000" in outcome.err


@pytest.mark.slow
def test_several_processes_refuse_the_mode_of_one_device(config, tmp_path):
    for outcome in ended(start(tmp_path / "run", config, "parallel.mode=jit")):
        assert outcome.code == 2, outcome.err
        assert says(outcome, "parallel.mode=jit runs on one device, and several processes have 4")


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
