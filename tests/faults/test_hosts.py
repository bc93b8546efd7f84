"""Several processes on one machine, as if each were a host: they are one run."""

import signal
from pathlib import Path

import numpy as np
import pytest

import runs
from gan_jax.pytree import host_array, named_leaves
from gan_jax.train.open_run import open_run
from host_processes import LONG, SGD, Process, ended, free_port, says, start, wait_until
from runs import Outcome

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> str:
    """Convolutions and batch norm, wide enough that some leaves can be split over the devices."""
    return str(runs.write_config(tmp_path_factory.mktemp("config"), SGD.replace("width=8", "width=32")))


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
    outcomes = ended(start(tmp_path / "run", config, mode))
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert difference(tmp_path / "run", together[0]) < 1e-6
    if "resident" in mode:  # the same batches give the same bits
        assert outcomes[0].digest == together[1][0].digest


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
def test_processes_with_different_configs_do_not_begin(config, tmp_path):
    port = free_port()
    processes = [
        Process(tmp_path / "run", port, index, 2, 2, config, f"batch={size}") for index, size in ((0, 16), (1, 32))
    ]
    for outcome in ended(processes):
        assert outcome.code == 2, outcome.err
        assert says(outcome, "process 1 has another config than process 0")
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.slow
def test_numbers_of_processes_that_are_not_valid(config, tmp_path):
    given = ["--workdir", tmp_path / "run", "--coordinator", "127.0.0.1:1234"]
    runs.sentence(runs.call("train", config, *given), "--coordinator", "--distributed")
    outcome = runs.spawn("train", config, *given, "--distributed", "--processes", 2, "--process", 2)
    assert outcome.code == 2, outcome.err
    assert says(outcome, "--process I, from 0 to N - 1")


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
