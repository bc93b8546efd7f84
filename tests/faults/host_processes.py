"""Runs `gan-jax train` in several processes on one machine, as if each were a host.

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

import runs
from runs import ROOT, Outcome

SGD = runs.TINY.replace(
    "        log=Log",
    '        generator_optimizer=Call("sgd", learning_rate=0.01),\n'
    '        discriminator_optimizer=Call("sgd", learning_rate=0.01),\n'
    "        log=Log",
)

SMALL = SGD.replace('"dcgan", width=8', '"mlp", width=8')  # compiles in half the time


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


def wait_until(condition: Callable[[], object], process: Process, timeout: float = 90.0) -> None:
    """Waits until `condition()`; fails when the process ends before."""
    until = time.monotonic() + timeout
    while not condition():
        assert process.process.poll() is None, process.end()
        assert time.monotonic() < until
        time.sleep(0.05)


LONG = ["steps=100000", "log.every=1", "sample.every=1000000", "checkpoint.every=50", "checkpoint.keep=2"]
