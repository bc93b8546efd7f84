"""Several processes on one machine, as if each were a host: one run, and what remains when one of them dies."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import runs
from gan_jax.pytree import host_array, named_leaves
from gan_jax.runtime import peer_watch as watch
from gan_jax.train.open_run import open_run
from runs import ROOT, Outcome

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(300)]

SGD = runs.TINY.replace(
    "        log=Log",
    '        generator_optimizer=Call("sgd", learning_rate=0.01),\n'
    '        discriminator_optimizer=Call("sgd", learning_rate=0.01),\n'
    "        log=Log",
)


class Process:
    """One of `count` processes of a run, with `devices` virtual devices."""

    def __init__(
        self, workdir: Path, port: int, index: int, count: int, devices: int, *arguments: str, **environment: str
    ):
        words = [sys.executable, "-m", "gan_jax", "train", *map(str, arguments), "--workdir", str(workdir)]
        scheduled = "SLURM_JOB_ID" in environment
        words += ["--distributed"] if count > 1 or scheduled else []
        if count > 1 and not scheduled:  # else a scheduler says it
            words += ["--coordinator", f"127.0.0.1:{port}", "--processes", str(count), "--process", str(index)]
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, **environment},
        )  # fmt: skip

    def end(self, timeout: float = 120.0) -> Outcome:
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            out, err = self.process.communicate()
            raise AssertionError(f"killed after {timeout} s\n{out[-2000:]}\n{err[-4000:]}") from None
        # Gloo, which carries the sums between processes on CPUs, says on its own how many it has met.
        said = [line for line in out.splitlines() if "peer ranks" not in line]  # threads of it cut each other's
        return Outcome(self.process.returncode, "\n".join(said), err)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(workdir: Path, *arguments: str, count: int = 2, devices: int = 2) -> list[Process]:
    port = free_port()
    return [Process(workdir, port, index, count, devices, *arguments) for index in range(count)]


def ended(processes: list[Process], timeout: float = 120.0) -> list[Outcome]:
    return [process.end(timeout) for process in processes]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> str:
    return str(runs.write_config(tmp_path_factory.mktemp("config"), SGD))


@pytest.fixture(scope="module")
def together(config, tmp_path_factory) -> tuple[Path, list[Outcome]]:
    """A run by two processes with two devices each, that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("together") / "run"
    outcomes = ended(start(workdir, config))
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    return workdir, outcomes


def leaves(workdir: Path) -> dict[str, np.ndarray]:
    return {name: host_array(leaf) for name, leaf in named_leaves(open_run(workdir, None).state).items()}


def apart(one: Path, other: Path) -> float:
    pairs = zip(leaves(one).values(), leaves(other).values(), strict=True)
    return max(float(np.max(np.abs(a - b) / (1.0 + np.abs(b)), initial=0.0)) for a, b in pairs)


@pytest.mark.slow
def test_two_processes_are_one_run(config, together, tmp_path):
    """The state of one process with four devices; the first writes all there is, and the second says nothing."""
    workdir, (_, second) = together
    (alone,) = ended(start(tmp_path / "alone", config, count=1, devices=4))
    assert alone.code == 0, alone.err
    assert apart(workdir, tmp_path / "alone") < 1e-6
    assert second.err == ""
    assert second.out == ""
    assert runs.rows(workdir)[-1]["step"] == 60
    assert runs.checkpoints(workdir) == [10, 20, 30, 40, 50, 60]


@pytest.mark.slow
def test_under_slurm_nothing_more_is_said_and_the_bits_repeat(config, together, tmp_path):
    port = free_port() % 4096  # JAX makes it of the job's number
    variables = {"SLURM_JOB_ID": str(port), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    again = [
        Process(
            tmp_path / "again",
            0,
            index,
            2,
            2,
            config,
            **variables,
            SLURM_PROCID=str(index),
            SLURM_LOCALID=str(index),
        )
        for index in range(2)
    ]
    outcomes = ended(again)
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert outcomes[0].digest == together[1][0].digest


@pytest.mark.slow
@pytest.mark.parametrize("way", ["parallel.mode=pmap", "parallel.params=sharded", "data.resident=false"])
def test_every_way_of_two_processes(way, config, together, tmp_path):
    arguments = [config, way, *(["generator.width=32", "discriminator.width=32"] if "sharded" in way else [])]
    outcomes = ended(start(tmp_path / "run", *arguments))
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    reference = together[0]
    if "sharded" in way:
        reference = tmp_path / "replicated"
        assert [one.code for one in ended(start(reference, *arguments, "parallel.params=replicated"))] == [0, 0]
    assert apart(tmp_path / "run", reference) < 1e-6
    if "resident" in way:  # the same batches, so the same bits
        assert outcomes[0].digest == together[1][0].digest


def wait_for(step: int, workdir: Path, process: Process, timeout: float = 90.0) -> None:
    until = time.monotonic() + timeout
    while runs.last_step(workdir) < step:
        assert process.process.poll() is None, process.end()
        assert time.monotonic() < until
        time.sleep(0.05)


LONG = ["steps=100000", "log.every=1", "sample.every=1000000", "checkpoint.every=50", "checkpoint.keep=2"]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies(victim, config, together, tmp_path):
    """The other ends by itself within 15 seconds, in one sentence; started again, all end with the same bits."""
    workdir = tmp_path / "run"
    processes = start(workdir, config, *LONG)
    wait_for(60, workdir, processes[0])
    os.killpg(processes[victim].process.pid, signal.SIGKILL)
    killed = time.monotonic()
    other = processes[1 - victim].end(timeout=60)
    seconds = time.monotonic() - killed
    processes[victim].end()
    print(f"process {victim} killed; the other ended after {seconds:.1f} s with {other.code}: {other.err[-400:]}")
    assert seconds < 15
    assert other.code in (4, -signal.SIGABRT)  # JAX aborts where the coordinator is gone
    if victim == 1:
        assert other.code == 4
        last = other.err.splitlines()[-1]
        assert last.startswith("gan-jax: another process of this run is gone")
    steps = runs.checkpoints(workdir)[-1] + 10
    outcomes = ended(start(workdir, config, f"steps={steps}"))
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    whole = ended(start(tmp_path / "whole", config, f"steps={steps}", "checkpoint.every=50"))
    assert outcomes[0].digest == whole[0].digest


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
def test_one_is_told_to_stop_and_all_save_the_same_step(told, config, tmp_path):
    workdir = tmp_path / "run"
    processes = start(workdir, config, *LONG, "--preempt-exit-code=42")
    wait_for(20, workdir, processes[0])
    processes[told].process.send_signal([signal.SIGTERM, signal.SIGINT][told])
    outcomes = ended(processes, timeout=30)
    assert [outcome.code for outcome in outcomes] == [42, 42], outcomes
    steps = runs.checkpoints(workdir)[-1]
    assert f"at step {steps} of 100000: all is saved, the same command goes on" in outcomes[0].err


@pytest.mark.slow
def test_the_first_process_tells_the_others_what_is_wrong(config, tmp_path):
    """A mistake that only it can see, in the workdir, is one sentence of each."""
    (tmp_path / "file").write_text("")
    outcomes = ended(start(tmp_path / "file" / "run", config))
    for outcome in outcomes:
        runs.sentence(outcome, "can't write to the workdir")


@pytest.mark.slow
def test_processes_with_other_configs_do_not_begin(config, tmp_path):
    port = free_port()
    processes = [
        Process(tmp_path / "run", port, index, 2, 2, config, f"batch={size}") for index, size in ((0, 16), (1, 32))
    ]
    for outcome in ended(processes):
        assert outcome.code == 2
        assert "process 1 has another config than process 0" in outcome.err
    assert not (tmp_path / "run" / "config.json").exists()


def test_numbers_that_make_no_sense(config, tmp_path):
    given = ["--workdir", tmp_path / "run", "--coordinator", "127.0.0.1:1234"]
    runs.sentence(runs.call("train", config, *given), "--coordinator", "--distributed")
    outcome = runs.spawn("train", config, *given, "--distributed", "--processes", 2, "--process", 2)
    runs.sentence(outcome, "--distributed", "--process I, from 0 to N - 1")


@pytest.mark.slow
def test_one_process_that_was_joined_is_stopped_like_any_other(config, tmp_path):
    """JAX's service takes SIGTERM from then on."""
    workdir, port = tmp_path / "run", free_port()
    given = ["--distributed", "--coordinator", f"127.0.0.1:{port}", "--processes", "1", "--process", "0"]
    process = Process(workdir, port, 0, 1, 1, config, *LONG, *given)
    wait_for(20, workdir, process)
    process.process.send_signal(signal.SIGTERM)
    outcome = process.end(timeout=30)
    assert outcome.code == 75, outcome.err
    assert f"SIGTERM came at step {runs.checkpoints(workdir)[-1]} of 100000" in outcome.err


@pytest.mark.slow
def test_several_processes_have_no_one_device(config, tmp_path):
    for outcome in ended(start(tmp_path / "run", config, "parallel.mode=jit")):
        assert outcome.code == 2
        assert "parallel.mode=jit runs on one device, and several processes have 4" in outcome.err


BROKEN = """
import os
import numpy as np
from gan_jax.data.digits import digits as whole
from gan_jax.errors import UserError

class Broken:
    def __init__(self):
        self.source = whole()
        self.shape, self.dtype, self.classes = self.source.shape, self.source.dtype, self.source.classes

    def __len__(self):
        return len(self.source)

    def fingerprint(self):
        return self.source.fingerprint()

    def read(self, indices):
        if os.environ.get("BROKEN") and 700 in indices:
            raise ValueError("of nothing the library knows")
        return self.source.read(indices)

def digits():
    if os.environ.get("MISSING"):
        raise UserError("the disk with the digits is not mounted here")
    return Broken()
"""


def start_broken(config: str, folder: Path, environments: list[dict[str, str]]) -> list[Process]:
    """Processes of one run, each with variables of its own that say what breaks there."""
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
def test_a_mistake_of_one_process_ends_all_with_its_code(config, tmp_path, where):
    """A scheduler that starts again what died (4) does not start this again."""
    environments = [{"MISSING": "1"} if index == where else {} for index in range(2)]
    outcomes = ended(start_broken(config, tmp_path, environments), timeout=60)
    assert [outcome.code for outcome in outcomes] == [2, 2], outcomes
    assert outcomes[where].err.splitlines()[-1] == "gan-jax: the disk with the digits is not mounted here"
    assert "another process of this run" in outcomes[1 - where].err
    assert not any("Traceback" in outcome.err for outcome in outcomes)


@pytest.mark.slow
def test_what_breaks_in_one_process_ends_all(config, tmp_path):
    """A fault that is no sentence of ours: its traceback there, and an end of both in seconds."""
    first, second = ended(start_broken(config, tmp_path, [{}, {"BROKEN": "1"}]), timeout=90)
    assert second.code == 1
    assert "ValueError: of nothing the library knows" in second.err
    assert first.code == 1
    assert "another process of this run" in first.err


@pytest.fixture
def watched(monkeypatch):
    """A first process's watch, what makes another's, and the codes with which either would end.

    Their threads may outlive the test, so what would end the process is given to them, not patched into `os`.
    """
    codes, heard = [], []
    monkeypatch.setattr(watch, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(watch, "_SAID_SECONDS", 0.0)

    def tell(make):
        if not heard:
            heard.append(make())
        return heard[0]

    made = [watch.Watch(True, 3, "", tell, end=codes.append)]

    def join():
        made.append(watch.Watch(False, 3, "127.0.0.1", tell, end=codes.append))
        return made[-1]

    yield made[0], join, codes, heard
    for connection in (connection for each in made for connection in each._open):
        connection.close()


def until(seen, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not seen() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(seen())


def test_a_stranger_is_not_taken_for_a_process(watched):
    """It connects, says nothing or something else, and goes; the process that belongs here is still let in."""
    first, join, codes, heard = watched
    for said in (b"", b"x" * 16):
        with socket.create_connection(("127.0.0.1", heard[0][0])) as stranger:
            stranger.sendall(said)
    other = join()
    assert until(lambda: first._open)
    assert len(first._open) == len(other._open) == 1
    assert not codes
    other._open[0].shutdown(socket.SHUT_RDWR)  # as the kernel does for a process that dies
    assert until(lambda: codes)
    assert set(codes) == {4}


def test_who_takes_leave_has_not_died(watched):
    first, join, codes, _ = watched
    other = join()
    assert until(lambda: first._open)
    other.close()
    other._open[0].shutdown(socket.SHUT_WR)
    assert not until(lambda: codes, seconds=0.5)


def test_a_code_reaches_all(watched, capfd):
    """One process says with which code it ends; the first passes it on, and all end with it."""
    first, join, codes, _ = watched
    one, other = join(), join()
    assert until(lambda: len(first._open) == 2)
    one.close(2)
    assert until(lambda: len(codes) >= 2)
    assert set(codes) == {2}
    assert (first.code(), other.code()) == (2, 2)
    assert "another process of this run ended with exit code 2" in capfd.readouterr().err
